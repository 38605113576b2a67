// Models of what a board's GW1N holds beside the cells that Yosys has models of.

// The clock of the simulation is the PLL's output: its multiplier and divisors are checked where the netlist is read.
module rPLL #(
    parameter FCLKIN = "100.0", parameter DEVICE = "GW1N-1",
    parameter DYN_IDIV_SEL = "false", parameter DYN_FBDIV_SEL = "false", parameter DYN_ODIV_SEL = "false",
    parameter IDIV_SEL = 0, parameter FBDIV_SEL = 0, parameter ODIV_SEL = 8, parameter DYN_SDIV_SEL = 2,
    parameter PSDA_SEL = "0000", parameter DUTYDA_SEL = "1000", parameter DYN_DA_EN = "false",
    parameter CLKFB_SEL = "internal", parameter CLKOUT_BYPASS = "false", parameter CLKOUTP_BYPASS = "false",
    parameter CLKOUTD_BYPASS = "false"
) (
    input CLKIN, CLKFB, RESET, RESET_P, input [5:0] FBDSEL, IDSEL, ODSEL, input [3:0] PSDA, DUTYDA, FDLY,
    output CLKOUT, LOCK
);
    reg [5:0] running = 0;
    always @(posedge CLKIN)
        if (!LOCK) running <= running + 1;
    assign LOCK = &running;
    assign CLKOUT = CLKIN;
endmodule

// Block RAMs without output registers (Gowin, BSRAM & SSRAM User Guide, UG285): with two ports, whose bytes have 8 bits
// (DPB) or 9 (DPX9B), or with one to write and one to read (SDPX9B). Yosys makes no others of an engine's memories.

`define EVENSTEP_CONTENT_PARAMETERS(BITS) \
    parameter [BITS-1:0] INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, \
    parameter [BITS-1:0] INIT_RAM_04 = 0, INIT_RAM_05 = 0, INIT_RAM_06 = 0, INIT_RAM_07 = 0, \
    parameter [BITS-1:0] INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, \
    parameter [BITS-1:0] INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0, \
    parameter [BITS-1:0] INIT_RAM_10 = 0, INIT_RAM_11 = 0, INIT_RAM_12 = 0, INIT_RAM_13 = 0, \
    parameter [BITS-1:0] INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0, \
    parameter [BITS-1:0] INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, \
    parameter [BITS-1:0] INIT_RAM_1C = 0, INIT_RAM_1D = 0, INIT_RAM_1E = 0, INIT_RAM_1F = 0, \
    parameter [BITS-1:0] INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, \
    parameter [BITS-1:0] INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0, \
    parameter [BITS-1:0] INIT_RAM_28 = 0, INIT_RAM_29 = 0, INIT_RAM_2A = 0, INIT_RAM_2B = 0, \
    parameter [BITS-1:0] INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0, \
    parameter [BITS-1:0] INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, \
    parameter [BITS-1:0] INIT_RAM_34 = 0, INIT_RAM_35 = 0, INIT_RAM_36 = 0, INIT_RAM_37 = 0, \
    parameter [BITS-1:0] INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, \
    parameter [BITS-1:0] INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0
`define EVENSTEP_CONTENT { \
        INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, INIT_RAM_39, INIT_RAM_38, \
        INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, \
        INIT_RAM_2F, INIT_RAM_2E, INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, \
        INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, INIT_RAM_21, INIT_RAM_20, \
        INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, \
        INIT_RAM_17, INIT_RAM_16, INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, \
        INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, INIT_RAM_09, INIT_RAM_08, \
        INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00 \
    }

module DPB #(
    parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0,
    parameter BIT_WIDTH_0 = 16, BIT_WIDTH_1 = 16, parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0,
    parameter RESET_MODE = "SYNC",
    `EVENSTEP_CONTENT_PARAMETERS(256)
) (
    input CLKA, CEA, OCEA, RESETA, WREA, input [2:0] BLKSELA, input [13:0] ADA, input [15:0] DIA, output [15:0] DOA,
    input CLKB, CEB, OCEB, RESETB, WREB, input [2:0] BLKSELB, input [13:0] ADB, input [15:0] DIB, output [15:0] DOB
);
    generate
        if (READ_MODE0 != 0 || READ_MODE1 != 0) unknown_mode_of_DPB error();
    endgenerate

    wire [31:0] word_a, word_b;
    assign {DOA, DOB} = {word_a[15:0], word_b[15:0]};
    evenstep_block_ram #(
        .BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .MODE_A(WRITE_MODE0), .MODE_B(WRITE_MODE1),
        .INIT(`EVENSTEP_CONTENT)
    ) ram (
        .clock_a(CLKA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(WREA), .address_a(ADA),
        .data_a({16'h0, DIA}), .word_a(word_a),
        .clock_b(CLKB), .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(WREB), .address_b(ADB),
        .data_b({16'h0, DIB}), .word_b(word_b)
    );
endmodule

module DPX9B #(
    parameter READ_MODE0 = 0, READ_MODE1 = 0, WRITE_MODE0 = 0, WRITE_MODE1 = 0,
    parameter BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18, parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0,
    parameter RESET_MODE = "SYNC",
    `EVENSTEP_CONTENT_PARAMETERS(288)
) (
    input CLKA, CEA, OCEA, RESETA, WREA, input [2:0] BLKSELA, input [13:0] ADA, input [17:0] DIA, output [17:0] DOA,
    input CLKB, CEB, OCEB, RESETB, WREB, input [2:0] BLKSELB, input [13:0] ADB, input [17:0] DIB, output [17:0] DOB
);
    generate
        if (READ_MODE0 != 0 || READ_MODE1 != 0) unknown_mode_of_DPX9B error();
    endgenerate

    wire [35:0] word_a, word_b;
    assign {DOA, DOB} = {word_a[17:0], word_b[17:0]};
    evenstep_block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .MODE_A(WRITE_MODE0), .MODE_B(WRITE_MODE1),
        .INIT(`EVENSTEP_CONTENT)
    ) ram (
        .clock_a(CLKA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(WREA), .address_a(ADA),
        .data_a({18'h0, DIA}), .word_a(word_a),
        .clock_b(CLKB), .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(WREB), .address_b(ADB),
        .data_b({18'h0, DIB}), .word_b(word_b)
    );
endmodule

module SDPX9B #(
    parameter READ_MODE = 0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, parameter [2:0] BLK_SEL_0 = 0, BLK_SEL_1 = 0,
    parameter RESET_MODE = "SYNC",
    `EVENSTEP_CONTENT_PARAMETERS(288)
) (
    input CLKA, CEA, RESETA, input [2:0] BLKSELA, input [13:0] ADA, input [35:0] DI,
    input CLKB, CEB, OCE, RESETB, input [2:0] BLKSELB, input [13:0] ADB, output [35:0] DO
);
    generate
        if (READ_MODE != 0) unknown_mode_of_SDPX9B error();
    endgenerate

    evenstep_block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .INIT(`EVENSTEP_CONTENT)
    ) ram (
        .clock_a(CLKA), .enable_a(CEA & BLKSELA == BLK_SEL_0), .write_a(1'b1), .address_a(ADA),
        .data_a(DI), .word_a(),
        .clock_b(CLKB), .enable_b(CEB & BLKSELB == BLK_SEL_1), .write_b(1'b0), .address_b(ADB),
        .data_b(36'h0), .word_b(DO)
    );
endmodule
