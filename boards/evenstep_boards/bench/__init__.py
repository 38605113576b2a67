"""What blocks cost: ours and plain ones beside each other, synthesized, placed and routed by the same tools."""
