// The virtual board's main loop: bytes from standard input into the engine, bytes of the engine to standard output.
//
// The simulation stands still while the engine has nothing to do, so that a waiting host costs nothing. It looks for
// input only now and then during a run: the link may be slow, and a system call for every cycle would be slower.
//
// First argument: a file descriptor. To it goes the number of bytes taken so far, 8 bytes, whenever the engine has nothing
// more to do: a host then knows at once that no answer will come. Second argument: cycles from byte to byte, of each
// direction, as of a serial line that is slower than the engine. SIGUSR1 is the reset button; it must be blocked when the
// process starts.
//
// Third argument: a file that external memory holds from address 0 on, of an engine that weights stream into; else empty. The
// memory gives the first beat of a burst `memory_latency` cycles after it took the address, then one in every cycle.
//
// Built with tracing, it takes three arguments more: the file of a waveform, and the first and the last cycle of the first
// run that it shall hold. A run's own first cycle is 1; in the waveform's time, cycle n begins at n times 10 ns.

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <memory>
#include <poll.h>
#include <unistd.h>
#include <vector>

#include "Vengine.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr uint64_t idle_limit = 1024;    // silent cycles after which the engine counts as waiting: longer than any frame
constexpr int busy_interval = 4096;   // cycles between looks at the input during a run
constexpr int reset_cycles = 4;

std::vector<uint8_t> received;
size_t taken = 0;
uint64_t total = 0;
bool ended = false;
int idle_descriptor = -1;
uint64_t pace = 1;
volatile std::sig_atomic_t pressed = 0;
constexpr timespec at_once{0, 0};
const sigset_t all_signals{};

void press(int) { pressed = 1; }

void receive(bool wait) {
    if (ended) return;
    pollfd descriptor{STDIN_FILENO, POLLIN, 0};
    if (wait && idle_descriptor >= 0 && poll(&descriptor, 1, 0) == 0) {
        // Never blocks: where nobody reads these numbers, some are lost.
        if (write(idle_descriptor, &total, sizeof total) < 0) { /* the host looks again later */ }
    }
    // The button is felt only here, so that no press falls between a look at it and the wait.
    if (ppoll(&descriptor, 1, wait ? nullptr : &at_once, &all_signals) <= 0) return;
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

// Window of the waveform of the first run. Without tracing it is nothing.
class Waveform {
#if VM_TRACE
    static constexpr uint64_t period = 10;
    VerilatedVcdC file;
    const char* path = nullptr;
    uint64_t first = 0, last = 0;
    uint64_t run = 0;  // cycle of the run; 0 before it begins

    void dump(uint64_t offset) {
        if (!path || run < first) return;
        if (!file.isOpen()) file.open(path);
        file.dump(run * period + offset);
    }

public:
    Waveform(Vengine& engine, int argc, char** argv) {
        if (argc < 7) return;
        path = argv[4];
        first = std::strtoull(argv[5], nullptr, 10);
        last = std::strtoull(argv[6], nullptr, 10);
        engine.trace(&file, 99);
    }
    void rising(bool busy) {
        if (!path || (run == 0 && !busy)) return;
        if (run == last || !busy) { file.close(); path = nullptr; return; }
        ++run;
        dump(0);
    }
    void settled() { if (run) dump(period / 2); }
#else
public:
    Waveform(Vengine&, int, char**) {}
    void rising(bool) {}
    void settled() {}
#endif
};

// External memory behind an AXI4 read port. Without a port it is nothing.
class ExternalMemory {
#ifdef PORT_BITS
    static constexpr size_t beat_bytes = PORT_BITS / 8;
    static constexpr uint64_t memory_latency = 32;
    struct Burst { uint64_t due; size_t address; unsigned beats; };
    std::vector<char> bytes;
    std::deque<Burst> bursts;

public:
    explicit ExternalMemory(const char* path) {
        std::ifstream file(path, std::ios::binary);
        bytes.assign(std::istreambuf_iterator<char>(file), {});
    }
    void clear() { bursts.clear(); }
    void offer(Vengine& engine, uint64_t now) {
        engine.m_axi_arready = 1;
        engine.m_axi_rvalid = !bursts.empty() && bursts.front().due <= now;
        if (!engine.m_axi_rvalid) return;
        const size_t at = bursts.front().address;
        if (at + beat_bytes <= bytes.size()) std::memcpy(&engine.m_axi_rdata, bytes.data() + at, beat_bytes);
        engine.m_axi_rresp = at + beat_bytes <= bytes.size() ? 0 : 2;
        engine.m_axi_rlast = bursts.front().beats == 1;
    }
    void settled(Vengine& engine, uint64_t now) {
        if (engine.m_axi_rvalid && engine.m_axi_rready) {
            bursts.front().address += beat_bytes;
            if (--bursts.front().beats == 0) bursts.pop_front();
        }
        if (engine.m_axi_arvalid) bursts.push_back({now + memory_latency, engine.m_axi_araddr, engine.m_axi_arlen + 1u});
    }
#else
public:
    explicit ExternalMemory(const char*) {}
    void clear() {}
    void offer(Vengine&, uint64_t) {}
    void settled(Vengine&, uint64_t) {}
#endif
};

}  // namespace

int main(int argc, char** argv) {
    auto context = std::make_unique<VerilatedContext>();
    context->traceEverOn(argc > 4);
    auto engine = std::make_unique<Vengine>(context.get());
    if (argc > 1) {
        idle_descriptor = std::atoi(argv[1]);
        fcntl(idle_descriptor, F_SETFL, fcntl(idle_descriptor, F_GETFL) | O_NONBLOCK);
    }
    if (argc > 2) pace = std::strtoull(argv[2], nullptr, 10);
    // The host starts this process with the signal blocked: pressed before there is a handler, the button waits for it.
    struct sigaction action{};
    action.sa_handler = press;
    sigaction(SIGUSR1, &action, nullptr);
    // The host ends this process by closing its pipes; what else a terminal sends is meant for the host.
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);

    Waveform waveform(*engine, argc, argv);
    ExternalMemory memory(argc > 3 ? argv[3] : "");
    const auto cycle = [&] {
        engine->CLOCK = 1;
        engine->eval();
        waveform.rising(engine->busy);
        engine->CLOCK = 0;
    };
    const auto reset = [&] {
        engine->RESET = RESET_LEVEL;
        engine->s_axis_tvalid = 0;
        engine->eval();
        for (int n = 0; n < reset_cycles; ++n) { cycle(); engine->eval(); }
        engine->RESET = !RESET_LEVEL;
    };
    engine->CLOCK = 0;
    reset();

    std::vector<uint8_t> answer;
    uint64_t now = pace, took = 0, gave = 0;  // cycles: at hand, of the last byte taken, of the last one given
    uint64_t silent = 0;  // cycles since a byte moved
    int since = 0;
    while (!ended || taken < received.size()) {
        if (taken == received.size()) {
            const bool waiting = silent > idle_limit && !engine->busy;
            if (waiting) send(answer);
            if (waiting || !engine->busy || ++since >= busy_interval) { receive(waiting); since = 0; }
        }
        if (pressed) { pressed = 0; reset(); memory.clear(); silent = 0; }
        const bool offered = taken < received.size() && now - took >= pace;
        engine->s_axis_tvalid = offered;
        engine->m_axis_tready = now - gave >= pace;
        if (offered) engine->s_axis_tdata = received[taken];
        memory.offer(*engine, now);
        engine->eval();  // settle before the edge: what is valid and ready now moves with it
        waveform.settled();
        memory.settled(*engine, now);
        if (offered && engine->s_axis_tready) { ++taken; ++total; took = now; silent = 0; }
        const bool given = engine->m_axis_tvalid && engine->m_axis_tready;
        if (given) { answer.push_back(engine->m_axis_tdata); gave = now; silent = 0; }
        ++silent;
        ++now;
        cycle();
        if (!given && silent == pace + 3) send(answer);  // a whole frame at once, as a rule
    }
    send(answer);
    return 0;
}
