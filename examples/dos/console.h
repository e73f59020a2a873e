// The program's keyboard and screen on the host's standard input and output.
#pragma once

#include <termios.h>

#include <cstdint>
#include <optional>
#include <string>

namespace dos {

constexpr uint8_t end_of_input = 0x1a;  // Ctrl-Z

class Console {
   public:
    Console();
    ~Console();
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

    // Code page 437 becomes UTF-8, and CR LF a line end of the host.
    void put(const std::string& text);
    void flush();

    // The next key, which may take its time; Enter is 0Dh. At the end of the input, Ctrl-Z.
    uint8_t key();
    bool has_key();
    // The next key without taking it, if there is one.
    std::optional<uint8_t> peek();
    // A line of at most `limit` characters with echo and Backspace, without its CR.
    std::string line(size_t limit);

   private:
    void put_one(uint8_t character);

    std::optional<uint8_t> next_;
    bool return_pending_ = false, terminal_ = false;
    termios before_{};
};

}  // namespace dos
