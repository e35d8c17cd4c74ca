// What this machine or container gives us: the defaults of the configuration stand on it.
#pragma once

#include <cstdint>
#include <string>

namespace modelpress {

struct Machine {
  // Processors we may use: the smaller of the affinity mask and the cgroup's quota, at least 1.
  uint32_t cores = 1;
  // The smaller of the cgroup's limit and the physical memory, bytes.
  uint64_t memory_bytes = 0;
  // Free for us in the scratch folder's file system, bytes; 0 if it cannot be told.
  uint64_t scratch_free_bytes = 0;
  std::string host_address;  // what others dial to reach this host: its name
};

// `scratch` may not exist yet: its nearest existing parent is asked.
Machine DescribeMachine(const std::string& scratch);

}  // namespace modelpress
