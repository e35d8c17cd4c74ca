// Fuzzer bytes as a mapped file, as readers want them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/base/job_context.h"

namespace modelpress::testing {

// What a reader needs, made once per process.
struct FuzzEnvironment {
  std::unique_ptr<Scratch> scratch = Scratch::Temporary(uint64_t{256} << 20).value();
  ThreadPool pool{1};
  Cancellation cancellation;
  JobContext context{.pool = &pool, .scratch = scratch.get(), .cancellation = &cancellation};

  static FuzzEnvironment& Get() {
    static auto& environment = *new FuzzEnvironment;
    return environment;
  }

  std::shared_ptr<MappedFile> File(const uint8_t* data, size_t size) {
    auto file = scratch->NewFile(size).value();
    if (size > 0) std::memcpy(file->mutable_bytes().data(), data, size);
    return file;
  }
};

}  // namespace modelpress::testing
