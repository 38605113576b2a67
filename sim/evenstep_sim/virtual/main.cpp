// The virtual board's main loop: bytes from standard input into the engine, bytes of the engine to standard output.
//
// The simulation stands still while the engine has nothing to do, so that a waiting host costs nothing. It looks for
// input only now and then during a run: the link may be slow, and a system call for every cycle would be slower.

#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <unistd.h>
#include <vector>

#include "Vengine.h"
#include "verilated.h"

namespace {

constexpr int idle_limit = 1024;      // silent cycles after which the engine counts as waiting: longer than any frame
constexpr int busy_interval = 4096;   // cycles between looks at the input during a run

std::vector<uint8_t> received;
size_t taken = 0;
bool ended = false;

void receive(bool wait) {
    if (ended) return;
    pollfd descriptor{STDIN_FILENO, POLLIN, 0};
    if (poll(&descriptor, 1, wait ? -1 : 0) <= 0) return;
    uint8_t bytes[65536];
    const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count <= 0) { ended = true; return; }
    received.assign(bytes, bytes + count);
    taken = 0;
}

void send(std::vector<uint8_t>& bytes) {
    for (size_t start = 0; start < bytes.size();) {
        const ssize_t count = write(STDOUT_FILENO, bytes.data() + start, bytes.size() - start);
        if (count <= 0) { ended = true; break; }
        start += count;
    }
    bytes.clear();
}

}  // namespace

int main(int argc, char** argv) {
    auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);
    auto engine = std::make_unique<Vengine>(context.get());

    const auto cycle = [&] {
        engine->CLOCK = 1;
        engine->eval();
        engine->CLOCK = 0;
    };
    engine->CLOCK = 0;
    engine->RESET = RESET_LEVEL;
    engine->s_axis_tvalid = 0;
    engine->m_axis_tready = 1;
    engine->eval();
    for (int n = 0; n < 4; ++n) { cycle(); engine->eval(); }
    engine->RESET = !RESET_LEVEL;

    std::vector<uint8_t> answer;
    int silent = 0, since = 0;
    while (!ended || taken < received.size()) {
        if (taken == received.size()) {
            const bool waiting = silent > idle_limit && !engine->busy;
            if (waiting) send(answer);
            if (waiting || !engine->busy || ++since >= busy_interval) { receive(waiting); since = 0; }
        }
        const bool offered = taken < received.size();
        engine->s_axis_tvalid = offered;
        if (offered) engine->s_axis_tdata = received[taken];
        engine->eval();  // settle before the edge: what is valid and ready now moves with it
        if (offered && engine->s_axis_tready) { ++taken; silent = 0; }
        if (engine->m_axis_tvalid) { answer.push_back(engine->m_axis_tdata); silent = 0; }
        ++silent;
        cycle();
        if (!engine->m_axis_tvalid && silent == 4) send(answer);
    }
    send(answer);
    return 0;
}
