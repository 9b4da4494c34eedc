/* A stand-in for NVIDIA's libnvidia-ml.so.1: the few functions that Galen calls, and two GPUs with
 * known figures. FAKE_NVML says what is wrong with them:
 *
 *   no-driver   the library does not start
 *   lost        the second GPU goes after its first answers
 *   hangs       the first question is never answered
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    DRIVER_NOT_LOADED = 9,
    GPU_IS_LOST = 15,
};

struct gpu {
    const char *uuid;
    unsigned busy_percent, power_mw, power_limit_mw;
    unsigned long long memory_total, memory_used, energy_mj;
    int says_power, looks;
};

static struct gpu gpus[] = {
    {"GPU-00000000-0000-0000-0000-00000000000a", 37, 51091, 400000, 42949672960ULL, 33763098624ULL,
     3594017400ULL, 1, 0},
    {"GPU-00000000-0000-0000-0000-00000000000b", 100, 0, 350000, 8589934592ULL, 0, 0, 0, 0},
};

struct utilization { unsigned gpu, memory; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

static int is_wrong(const char *what) {
    const char *wrong = getenv("FAKE_NVML");
    return wrong != NULL && strcmp(wrong, what) == 0;
}

int nvmlInit_v2(void) { return is_wrong("no-driver") ? DRIVER_NOT_LOADED : SUCCESS; }

int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = sizeof gpus / sizeof gpus[0];
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu) {
    if (index >= sizeof gpus / sizeof gpus[0]) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(struct gpu *gpu, char *uuid, unsigned length) {
    strncpy(uuid, gpu->uuid, length);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct gpu *gpu, struct memory_v2 *memory) {
    if (memory->version != (sizeof *memory | 2U << 24)) return INVALID_ARGUMENT;
    memory->total = gpu->memory_total;
    memory->used = gpu->memory_used;
    memory->reserved = 0;
    memory->free = gpu->memory_total - gpu->memory_used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct gpu *gpu, struct utilization *rates) {
    while (is_wrong("hangs")) pause();
    if (gpu == &gpus[1] && gpu->looks++ > 0 && is_wrong("lost")) return GPU_IS_LOST;
    rates->gpu = gpu->busy_percent;
    rates->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct gpu *gpu, unsigned *milliwatts) {
    *milliwatts = gpu->power_mw;
    return gpu->says_power ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetPowerManagementLimit(struct gpu *gpu, unsigned *milliwatts) {
    *milliwatts = gpu->power_limit_mw;
    return SUCCESS;
}

/* Five joules more each time. */
int nvmlDeviceGetTotalEnergyConsumption(struct gpu *gpu, unsigned long long *millijoules) {
    *millijoules = gpu->energy_mj;
    gpu->energy_mj += 5000;
    return gpu->says_power ? SUCCESS : NOT_SUPPORTED;
}
