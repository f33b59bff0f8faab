/* The functions of NCCL that Caffe calls, among threads of one process. */
#ifndef EMULATION_NCCL_H_
#define EMULATION_NCCL_H_

#include "cuda_runtime_api.h"

#define NCCL_UNIQUE_ID_BYTES 128

enum ncclResult_t { ncclSuccess = 0, ncclInvalidArgument = 4, ncclInvalidUsage = 5 };
enum ncclDataType_t { ncclFloat32 = 7, ncclFloat = 7, ncclFloat64 = 8, ncclDouble = 8 };
enum ncclRedOp_t { ncclSum = 0 };
struct ncclUniqueId {
  char internal[NCCL_UNIQUE_ID_BYTES];
};
typedef struct EmulatedRank* ncclComm_t;

extern "C" {
const char* ncclGetErrorString(ncclResult_t result);
ncclResult_t ncclGetUniqueId(ncclUniqueId* id);
ncclResult_t ncclCommInitRank(ncclComm_t* rank, int ranks, ncclUniqueId id, int number);
ncclResult_t ncclCommInitAll(ncclComm_t* ranks, int count, const int* devices);
ncclResult_t ncclCommDestroy(ncclComm_t rank);
ncclResult_t ncclBcast(void* data, size_t count, ncclDataType_t type, int root, ncclComm_t rank, cudaStream_t stream);
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t rank,
                           cudaStream_t stream);
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t rank, cudaStream_t stream);
}

#endif
