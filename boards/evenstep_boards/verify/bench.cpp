// A board around the design that is verified: its clock, its serial line, its SPI flash, and a host that asks.
//
// Arguments: clock cycles of a bit on the serial line; a file with the content of the flash; cycles that the flash
// takes to wake up. The host speaks on standard input: 'W', a number of bytes, the bytes: put them on the line, behind
// those that are on their way; 'R', a number of cycles: simulate until bytes have come and the line is quiet, or as many
// cycles have passed without anything happening. 'R' is answered on standard output: cycles so far (8 bytes), a number
// of bytes, the bytes. Numbers are little endian, 4 bytes unless they are said to be longer.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "Vbench.h"
#include "verilated.h"

namespace {

// Bytes onto the line: a start bit, eight bits, a stop bit.
struct Sender {
    uint64_t divisor;
    std::deque<uint8_t> queue;
    unsigned bits = 1, left = 0;
    uint64_t cycle = 0;

    bool busy() const { return left || !queue.empty(); }
    bool step() {
        if (!left) {
            if (queue.empty()) return true;
            bits = 0x200u | queue.front() << 1;
            queue.pop_front();
            left = 10;
            cycle = 0;
        }
        const bool level = bits & 1;
        if (++cycle == divisor) { cycle = 0; bits >>= 1; --left; }
        return level;
    }
};

// Bytes off the line; one without a stop bit is none.
struct Receiver {
    uint64_t divisor;
    std::vector<uint8_t> bytes;
    bool before = true;
    uint64_t cycle = 0;
    unsigned bits = 0, count = 0;
    bool active = false;

    void step(bool level) {
        if (!active) {
            if (before && !level) { active = true; cycle = divisor / 2; bits = count = 0; }
        } else if (++cycle == divisor) {
            cycle = 0;
            bits |= unsigned(level) << count;
            if (count++ == 9) {
                if (level) bytes.push_back(bits >> 1);
                active = false;
            }
        }
        before = level;
    }
};

// As tests/boards/flash_model.py, and from the same data sheet: in deep power-down until it is released (0xAB), and the
// time for that has passed; then it reads (0x03). Mode 0.
struct Flash {
    std::vector<uint8_t> content;
    uint64_t wakes_in;
    bool released = false, selected = false, clock = false, output = true;
    uint64_t bits = 0, shifted = 0;
    uint8_t command = 0;

    void step(bool select, bool level, bool input) {
        const bool rising = level && !clock, falling = clock && !level;
        clock = level;
        if (!select) {
            if (selected && command == 0xAB) released = true;
            else if (released && wakes_in) --wakes_in;
            selected = false;
            bits = command = 0;
            output = true;
            return;
        }
        selected = true;
        if (rising) {
            if (bits < 32) shifted = shifted << 1 | input;
            if (++bits == 8) command = shifted;
        }
        if (falling && released && !wakes_in && command == 0x03 && bits >= 32) {
            const uint64_t address = (shifted & 0xFFFFFF) + (bits - 32) / 8;
            const uint8_t byte = address < content.size() ? content[address] : 0xFF;
            output = byte >> (7 - (bits - 32) % 8) & 1;
        }
    }
};

bool get(void* target, size_t size) { return fread(target, 1, size, stdin) == size; }
void put(const void* source, size_t size) { fwrite(source, 1, size, stdout); }

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    auto context = std::make_unique<VerilatedContext>();
    // What has no value at power-up gets a random one, the same in every run.
    context->randReset(2);
    context->randSeed(1);
    auto bench = std::make_unique<Vbench>(context.get());
    const uint64_t divisor = std::strtoull(argv[1], nullptr, 10);
    Sender sender{divisor};
    Receiver receiver{divisor};
    Flash flash{{}, std::strtoull(argv[3], nullptr, 10)};
    if (FILE* file = fopen(argv[2], "rb")) {
        for (int byte; (byte = fgetc(file)) != EOF;) flash.content.push_back(byte);
        fclose(file);
    } else {
        return 2;
    }

    uint64_t cycles = 0;
    for (char request; get(&request, 1);) {
        uint32_t number;
        if (!get(&number, sizeof number)) break;
        if (request == 'W') {
            for (; number; --number) {
                uint8_t byte;
                if (!get(&byte, 1)) return 1;
                sender.queue.push_back(byte);
            }
            continue;
        }
        for (uint32_t quiet = 0; quiet < number && !(receiver.bytes.size() && quiet > 2 * divisor); ++quiet) {
            bench->clk = 0;
            bench->rx = sender.step();
            bench->flash_cipo = flash.output;
            bench->eval();
            bench->clk = 1;
            bench->eval();
            receiver.step(bench->tx);
            flash.step(!bench->flash_select_n, bench->flash_clock, bench->flash_copi);
            ++cycles;
            if (sender.busy() || receiver.active || flash.selected) quiet = 0;
        }
        const uint32_t count = receiver.bytes.size();
        put(&cycles, sizeof cycles);
        put(&count, sizeof count);
        put(receiver.bytes.data(), count);
        fflush(stdout);
        receiver.bytes.clear();
    }
    bench->final();
    return 0;
}
