#include "console.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>

namespace dos {
namespace {

constexpr char16_t code_page_437[] =
    u"ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡"
    u"±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";
static_assert(sizeof code_page_437 / sizeof *code_page_437 == 129);

void put_utf8(char16_t c) {
    if (c < 0x80) {
        std::putchar(c);
    } else if (c < 0x800) {
        std::putchar(0xc0 | c >> 6);
        std::putchar(0x80 | (c & 0x3f));
    } else {
        std::putchar(0xe0 | c >> 12);
        std::putchar(0x80 | (c >> 6 & 0x3f));
        std::putchar(0x80 | (c & 0x3f));
    }
}

bool readable() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, 0) > 0;
}

uint8_t read_key() {
    uint8_t key = 0;
    if (read(STDIN_FILENO, &key, 1) != 1) return end_of_input;
    return key == '\n' ? '\r' : key == 0x7f ? '\b' : key;
}

}  // namespace

// On a terminal keys come one at a time, and are echoed by whoever reads them.
Console::Console() : terminal_(isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!terminal_) return;
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
}

Console::~Console() {
    flush();
    if (terminal_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

void Console::put(const std::string& text) {
    for (const char character : text) put_one(static_cast<uint8_t>(character));
}

void Console::put_one(uint8_t character) {
    if (character == '\r') {
        return_pending_ = true;
        return;
    }
    if (return_pending_ && character != '\n') std::putchar('\r');
    return_pending_ = false;
    if (character < 0x80)
        std::putchar(character);
    else
        put_utf8(code_page_437[character - 0x80]);
}

void Console::flush() {
    if (return_pending_ && terminal_) std::putchar('\r');
    return_pending_ = return_pending_ && !terminal_;
    std::fflush(stdout);
}

uint8_t Console::key() {
    flush();
    const uint8_t key = next_ ? *next_ : read_key();
    next_.reset();
    return key;
}

bool Console::has_key() { return peek().has_value(); }

std::optional<uint8_t> Console::peek() {
    if (!next_ && readable()) next_ = read_key();
    return next_;
}

std::string Console::line(size_t limit) {
    std::string typed;
    for (;;) {
        const uint8_t character = key();
        if (character == '\r' || character == end_of_input) return typed;
        if (character == '\b') {
            if (typed.empty()) continue;
            typed.pop_back();
            put("\b \b");
        } else if (typed.size() < limit) {
            typed.push_back(static_cast<char>(character));
            put(typed.substr(typed.size() - 1));
        } else {
            put("\a");
        }
    }
}

}  // namespace dos
