// Facts about the machine: see machine.h.
#include "server/config/machine.h"

#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace modelpress {
namespace {

// cgroup v2, as a container sees itself; "max" and missing files mean no limit.
// https://docs.kernel.org/admin-guide/cgroup-v2.html
constexpr char kCgroup[] = "/sys/fs/cgroup/";

uint64_t CgroupMemory() {
  std::ifstream file(absl::StrCat(kCgroup, "memory.max"));
  std::string text;
  uint64_t bytes = 0;
  if (file >> text && absl::SimpleAtoi(text, &bytes)) return bytes;
  return std::numeric_limits<uint64_t>::max();
}

double CgroupCores() {
  std::ifstream file(absl::StrCat(kCgroup, "cpu.max"));
  std::string quota;
  double period = 0;
  double value = 0;
  if (file >> quota >> period && absl::SimpleAtod(quota, &value) && period > 0)
    return value / period;
  return std::numeric_limits<double>::infinity();
}

uint32_t AffinityCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

uint64_t FreeBytes(const std::string& folder) {
  std::error_code ignored;
  std::filesystem::path path = std::filesystem::absolute(folder, ignored);
  while (!path.empty() && path != path.root_path() && !std::filesystem::exists(path, ignored)) {
    path = path.parent_path();
  }
  struct statvfs info = {};
  if (statvfs(path.c_str(), &info) != 0) return 0;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace

Machine DescribeMachine(const std::string& scratch) {
  Machine machine;
  const double quota = std::ceil(CgroupCores());
  machine.cores = AffinityCores();
  if (quota < machine.cores) machine.cores = static_cast<uint32_t>(std::max(quota, 1.0));
  const uint64_t physical =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  machine.memory_bytes = std::min(physical, CgroupMemory());
  machine.scratch_free_bytes = FreeBytes(scratch);
  char name[256] = {};
  machine.host_address = gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
  return machine;
}

}  // namespace modelpress
