// Models of what a board's GateMate holds beside the cells that Yosys has models of.

// The clock of the simulation is the PLL's output: its frequency is checked where the netlist is read.
module CC_PLL #(
    parameter REF_CLK = "", parameter OUT_CLK = "", parameter PERF_MD = "", parameter LOCK_REQ = 1,
    parameter LOW_JITTER = 1, parameter CI_FILTER_CONST = 2, parameter CP_FILTER_CONST = 4
) (
    input CLK_REF, CLK_FEEDBACK, USR_CLK_REF, USR_LOCKED_STDY_RST,
    output CLK0, USR_PLL_LOCKED
);
    reg [5:0] running = 0;
    always @(posedge CLK_REF)
        if (!USR_PLL_LOCKED) running <= running + 1;
    assign USR_PLL_LOCKED = &running;
    assign CLK0 = CLK_REF;
endmodule
