/* The driver API's header: Caffe only wants the version. */
#ifndef EMULATION_CUDA_H_
#define EMULATION_CUDA_H_

#include "driver_types.h"

#define CUDA_VERSION 13000

#endif
