#define DEFINE_ADD(name, T)                                    \
  __global__ void name##_kernel(T* x) { x[threadIdx.x] += 1; } \
  void name(T* x, int n) {                                     \
    /* <<< in a comment */                                     \
    name##_kernel<<<1, n>>>(                                   \
        x);                                                    \
  }
