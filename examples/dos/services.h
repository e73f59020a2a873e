// The functions of INT 21h that other files have. Each finds its arguments in the registers and leaves its results
// there; what fails raises Failure.
#pragma once

#include "kernel.h"

namespace dos {

// console_services.cpp
void read_with_echo(Kernel& dos, Registers& r);
void put_character(Kernel& dos, Registers& r);
void direct_console(Kernel& dos, Registers& r);
void read_silently(Kernel& dos, Registers& r);
void put_string(Kernel& dos, Registers& r);
void read_line(Kernel& dos, Registers& r);
void input_status(Kernel& dos, Registers& r);
void flush_and_read(Kernel& dos, Registers& r);

// file_services.cpp
void create_file(Kernel& dos, Registers& r);
void create_new_file(Kernel& dos, Registers& r);
void open_file(Kernel& dos, Registers& r);
void close_file(Kernel& dos, Registers& r);
void read_file(Kernel& dos, Registers& r);
void write_file(Kernel& dos, Registers& r);
void seek_file(Kernel& dos, Registers& r);
void duplicate(Kernel& dos, Registers& r);
void duplicate_to(Kernel& dos, Registers& r);
void device_control(Kernel& dos, Registers& r);
void file_time(Kernel& dos, Registers& r);

// directory_services.cpp
void set_transfer(Kernel& dos, Registers& r);
void get_transfer(Kernel& dos, Registers& r);
void find_first(Kernel& dos, Registers& r);
void find_next(Kernel& dos, Registers& r);
void delete_file(Kernel& dos, Registers& r);
void rename_file(Kernel& dos, Registers& r);
void attributes(Kernel& dos, Registers& r);
void make_directory(Kernel& dos, Registers& r);
void remove_directory(Kernel& dos, Registers& r);
void change_directory(Kernel& dos, Registers& r);
void current_directory(Kernel& dos, Registers& r);
void free_space(Kernel& dos, Registers& r);

// The name, ended by 0, at DS:DX.
std::string name_at(Kernel& dos, uint16_t segment, uint16_t offset);

}  // namespace dos
