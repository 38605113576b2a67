// Pins that are an input, and an output, once it is known which they are.
module evenstep_input_pin (input pad, output inner);
    assign inner = pad;
endmodule

module evenstep_output_pin (output pad, input inner);
    assign pad = inner;
endmodule
