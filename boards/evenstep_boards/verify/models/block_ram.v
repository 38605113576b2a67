// Block RAM of 18 Kbit with two ports and no output registers, as ECP5 and GW1N have it: 512 words of four bytes, seen as
// narrower ones by each port; where words are narrower than a byte of 9 bits, its ninth bit is not seen. Byte enables of
// two and four bytes are the lowest bits of the address. What a port reads while the other one writes it is random, and
// so is what it holds before it reads.
module evenstep_block_ram #(
    parameter BYTE = 9,
    // Bits of a port's words, and what it makes of a write: 0, it holds what it read last; 1, what is written; 2, what
    // was there.
    parameter WIDTH_A = 9, WIDTH_B = 9, MODE_A = 0, MODE_B = 0,
    // What it holds first, two bytes at a time: as many bits as these lie apart.
    parameter PAIR = 2 * BYTE,
    parameter [1024*PAIR-1:0] INIT = 0
) (
    input clock_a, enable_a, write_a, input [13:0] address_a, input [4*BYTE-1:0] data_a, output reg [4*BYTE-1:0] word_a,
    input clock_b, enable_b, write_b, input [13:0] address_b, input [4*BYTE-1:0] data_b, output reg [4*BYTE-1:0] word_b
);
    localparam BITS = 4 * BYTE;

    // First bit of a port's word.
    function integer place(input [13:0] address, input integer width);
        place = width == 4 * BYTE ? 0
            : width == 2 * BYTE ? 2 * BYTE * address[4]
            : BYTE * address[4:3] + (width == 4 ? 4 * address[2]
                : width == 2 ? 2 * address[2:1]
                : width == 1 ? address[2:0] : 0);
    endfunction

    // Bits that a port writes.
    function [BITS-1:0] mask(input [13:0] address, input integer width);
        reg [BITS-1:0] bytes;
        begin
            bytes = {{BYTE{address[3]}}, {BYTE{address[2]}}, {BYTE{address[1]}}, {BYTE{address[0]}}};
            mask = width == 4 * BYTE ? bytes
                : width == 2 * BYTE ? (bytes & {{2 * BYTE{1'b0}}, {2 * BYTE{1'b1}}}) << place(address, width)
                : (({{BITS - 1{1'b0}}, 1'b1} << width) - 1'b1) << place(address, width);
        end
    endfunction

    reg [BITS-1:0] memory [0:511];
    integer n;
    initial for (n = 0; n < 1024; n = n + 1)
        memory[n / 2][2 * BYTE * (n % 2) +: 2 * BYTE] = INIT[PAIR * n +: 2 * BYTE];

    wire [BITS-1:0] mask_a = enable_a & write_a ? mask(address_a, WIDTH_A) : {BITS{1'b0}};
    wire [BITS-1:0] mask_b = enable_b & write_b ? mask(address_b, WIDTH_B) : {BITS{1'b0}};
    wire same = address_a[13:5] == address_b[13:5];

    // Both may write bits of one word at the same time: what is written is seen at once.
    reg [BITS-1:0] before_a, after_a, read_a, before_b, after_b, read_b;
    always @(posedge clock_a) if (enable_a) begin
        before_a = memory[address_a[13:5]];
        after_a = (before_a & ~mask_a) | (data_a << place(address_a, WIDTH_A) & mask_a);
        if (write_a) memory[address_a[13:5]] = after_a;
        read_a = MODE_A == 1 ? after_a : before_a;
        if (same) read_a = (read_a & ~mask_b) | ({BITS{1'bx}} & mask_b);
        if (!(write_a && MODE_A == 0)) word_a <= read_a >> place(address_a, WIDTH_A);
    end
    always @(posedge clock_b) if (enable_b) begin
        before_b = memory[address_b[13:5]];
        after_b = (before_b & ~mask_b) | (data_b << place(address_b, WIDTH_B) & mask_b);
        if (write_b) memory[address_b[13:5]] = after_b;
        read_b = MODE_B == 1 ? after_b : before_b;
        if (same) read_b = (read_b & ~mask_a) | ({BITS{1'bx}} & mask_a);
        if (!(write_b && MODE_B == 0)) word_b <= read_b >> place(address_b, WIDTH_B);
    end
endmodule
