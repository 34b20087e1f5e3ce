"""What-ifs: where a gain comes from, which number matters most, which value meets a target, what a batch costs."""
