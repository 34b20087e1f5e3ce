"""Other people's measurements, read into our own types: profiles (Kineto, Nsight Systems) and benches of engines."""
