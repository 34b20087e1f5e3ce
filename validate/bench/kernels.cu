// Small kernels that a framework has no words for: node gaps, grid barriers, L2 reads, pointer chases, streams.
//
// Built by cuda.py with nvcc into a shared library; every function returns a cudaError_t as an int and works on the
// stream it is given. Loads that measure the L2 are ld.global.cg: they bypass the L1.

#include <cuda_runtime.h>
#include <stdint.h>

// ---------------------------------------------------------------------------------------------------- node gaps

// One dependent step: every thread changes its own number. The next kernel of a chain reads what this one wrote.
__global__ void tick(float* data) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  data[i] = data[i] * 0.999f + 1.0f;
}

// The same as a programmatic dependent: it lets the next one be launched at once, and waits for the one before it.
__global__ void tick_dependent(float* data) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  data[i] = data[i] * 0.999f + 1.0f;
}

// A chain inside one kernel: a barrier of the whole grid between two steps. All blocks must be resident.
__global__ void tick_persistent(float* data, unsigned* barrier, int nodes) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int node = 1; node <= nodes; ++node) {
    data[i] = data[i] * 0.999f + 1.0f;
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(barrier, 1u);
      const unsigned all = (unsigned)node * gridDim.x;
      while (*(volatile unsigned*)barrier < all) {
      }
      __threadfence();
    }
    __syncthreads();
  }
}

static int enqueue(int nodes, int blocks, int threads, int dependent, float* data, cudaStream_t stream) {
  cudaLaunchAttribute early[1];
  early[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early[0].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = early;
  config.numAttrs = dependent ? 1 : 0;
  for (int node = 0; node < nodes; ++node) {
    const cudaError_t error = cudaLaunchKernelEx(&config, dependent ? tick_dependent : tick, data);
    if (error != cudaSuccess) return (int)error;
  }
  return 0;
}

// Launch a chain one kernel at a time.
extern "C" int chain_stream(int nodes, int blocks, int threads, int dependent, float* data, void* stream) {
  return enqueue(nodes, blocks, threads, dependent, data, (cudaStream_t)stream);
}

// Capture the same chain; *made is a graph to be launched by graph_launch.
extern "C" int chain_graph(int nodes, int blocks, int threads, int dependent, float* data, void** made) {
  cudaStream_t stream;
  cudaGraph_t graph;
  int error = (int)cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error) return error;
  error = (int)cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  if (!error) error = enqueue(nodes, blocks, threads, dependent, data, stream);
  const int ended = (int)cudaStreamEndCapture(stream, &graph);
  if (!error) error = ended;
  if (!error) {
    error = (int)cudaGraphInstantiate((cudaGraphExec_t*)made, graph, 0);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
  return error;
}

extern "C" int graph_launch(void* made, void* stream) {
  return (int)cudaGraphLaunch((cudaGraphExec_t)made, (cudaStream_t)stream);
}

extern "C" int graph_free(void* made) { return (int)cudaGraphExecDestroy((cudaGraphExec_t)made); }

// The chain in one cooperative kernel; `barrier` must hold 0.
extern "C" int chain_persistent(int nodes, int blocks, int threads, float* data, unsigned* barrier, void* stream) {
  void* arguments[] = {&data, &barrier, &nodes};
  return (int)cudaLaunchCooperativeKernel((void*)tick_persistent, dim3(blocks), dim3(threads), arguments, 0,
                                          (cudaStream_t)stream);
}

// ------------------------------------------------------------------------------------------------ reads and streams

__device__ __forceinline__ float4 from_l2(const float4* p) { return __ldcg(p); }

__device__ __forceinline__ float folded(float4 v) { return v.x + v.y + v.z + v.w; }

// Read data[from .. to) `passes` times, eight loads in flight a thread.
static __device__ float read_span(const float4* data, size_t from, size_t to, int passes) {
  float sum = 0.0f;
  const size_t step = blockDim.x;
  for (int pass = 0; pass < passes; ++pass) {
    size_t i = from + threadIdx.x;
    for (; i + 7 * step < to; i += 8 * step) {
      float4 v[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) v[k] = from_l2(data + i + k * step);
#pragma unroll
      for (int k = 0; k < 8; ++k) sum += folded(v[k]);
    }
    for (; i < to; i += step) sum += folded(from_l2(data + i));
  }
  return sum;
}

// Private: each block reads a slice of its own, so every line is read by one SM.
__global__ void read_private(const float4* data, size_t count, int passes, float* sink) {
  const size_t from = count * blockIdx.x / gridDim.x, to = count * (blockIdx.x + 1) / gridDim.x;
  const float sum = read_span(data, from, to, passes);
  if (sum == 1.2345f) *sink = sum;
}

// Shared: every block reads all of it, so every line is read by every SM.
__global__ void read_shared(const float4* data, size_t count, int passes, float* sink) {
  const float sum = read_span(data, 0, count, passes);
  if (sum == 1.2345f) *sink = sum;
}

extern "C" int l2_read(const void* data, size_t bytes, int passes, int shared, int blocks, int threads, float* sink,
                       void* stream) {
  const size_t count = bytes / sizeof(float4);
  if (shared)
    read_shared<<<blocks, threads, 0, (cudaStream_t)stream>>>((const float4*)data, count, passes, sink);
  else
    read_private<<<blocks, threads, 0, (cudaStream_t)stream>>>((const float4*)data, count, passes, sink);
  return (int)cudaGetLastError();
}

__global__ void write_all(float4* to, size_t count, float value) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    to[i] = make_float4(value, value + 1, value + 2, value + 3);
}

__global__ void copy_all(const float4* from, float4* to, size_t count) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) to[i] = from[i];
}

extern "C" int stream_write(void* to, size_t bytes, float value, int blocks, int threads, void* stream) {
  write_all<<<blocks, threads, 0, (cudaStream_t)stream>>>((float4*)to, bytes / sizeof(float4), value);
  return (int)cudaGetLastError();
}

extern "C" int stream_copy(const void* from, void* to, size_t bytes, int blocks, int threads, void* stream) {
  copy_all<<<blocks, threads, 0, (cudaStream_t)stream>>>((const float4*)from, (float4*)to, bytes / sizeof(float4));
  return (int)cudaGetLastError();
}

// --------------------------------------------------------------------------------------------------- latency, clock

// One thread follows `next` (indices of 4-byte words) from *place on, and leaves *place where it stops, so the next
// launch goes on around the same circle; cycles of all steps.
__global__ void chase(const unsigned* next, int steps, unsigned* place, long long* cycles) {
  unsigned at = *place;
  for (int i = 0; i < 64; ++i) at = __ldcg(next + at);
  const long long begin = clock64();
  for (int i = 0; i < steps; ++i) at = __ldcg(next + at);
  *cycles = clock64() - begin;
  *place = at;
}

extern "C" int pointer_chase(const unsigned* next, int steps, unsigned* place, long long* cycles, void* stream) {
  chase<<<1, 1, 0, (cudaStream_t)stream>>>(next, steps, place, cycles);
  return (int)cudaGetLastError();
}

// Cycles and nanoseconds of the same busy span on every SM: the clock that runs under load.
__global__ void spin(long long nanoseconds, long long* cycles, long long* elapsed) {
  long long from, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(from));
  const long long begin = clock64();
  float x = (float)threadIdx.x;
  do {
    for (int i = 0; i < 64; ++i) x = x * 0.999f + 1.0f;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - from < nanoseconds);
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    *cycles = clock64() - begin;
    *elapsed = now - from + (x == 1.2345f);
  }
}

extern "C" int clock_spin(int blocks, int threads, long long nanoseconds, long long* cycles, long long* elapsed,
                          void* stream) {
  spin<<<blocks, threads, 0, (cudaStream_t)stream>>>(nanoseconds, cycles, elapsed);
  return (int)cudaGetLastError();
}

// --------------------------------------------------------------------------------------------------------- L2 policy

// From here on, work launched (or captured) on the stream prefers to keep `bytes` at `data` in the L2 (keep = 1), or to
// let them pass through (keep = 0). Bytes of 0 ends it.
extern "C" int l2_window(void* stream, void* data, size_t bytes, float share, int keep) {
  cudaStreamAttrValue value = {};
  value.accessPolicyWindow.base_ptr = data;
  value.accessPolicyWindow.num_bytes = bytes;
  value.accessPolicyWindow.hitRatio = share;
  value.accessPolicyWindow.hitProp = keep ? cudaAccessPropertyPersisting : cudaAccessPropertyStreaming;
  value.accessPolicyWindow.missProp = keep ? cudaAccessPropertyStreaming : cudaAccessPropertyNormal;
  return (int)cudaStreamSetAttribute((cudaStream_t)stream, cudaStreamAttributeAccessPolicyWindow, &value);
}

// Let this process set aside L2 for lines to keep; gone when it ends. Returns the bytes set aside, or minus the error.
extern "C" long long l2_set_aside(size_t bytes) {
  int device = 0, most = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxPersistingL2CacheSize, device);
  const size_t wanted = bytes < (size_t)most ? bytes : (size_t)most;
  const cudaError_t error = cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, wanted);
  return error == cudaSuccess ? (long long)wanted : -(long long)error;
}

extern "C" int l2_forget() { return (int)cudaCtxResetPersistingL2Cache(); }
