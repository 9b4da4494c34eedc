/* Triton's perf_analyzer is linked to libb64 and the CUDA runtime, which it calls only to measure
 * CUDA's shared memory. These stand in for both, so that it starts where neither is installed. */
#include <stdlib.h>

#define NEVER_CALLED(name) \
    void name(void) { abort(); }

NEVER_CALLED(base64_init_encodestate)
NEVER_CALLED(base64_encode_block)
NEVER_CALLED(base64_encode_blockend)
NEVER_CALLED(base64_init_decodestate)
NEVER_CALLED(base64_decode_block)
NEVER_CALLED(cudaFree)
NEVER_CALLED(cudaGetErrorName)
NEVER_CALLED(cudaGetErrorString)
NEVER_CALLED(cudaIpcGetMemHandle)
NEVER_CALLED(cudaMalloc)
NEVER_CALLED(cudaMemcpy)
NEVER_CALLED(cudaSetDevice)
