// Jobs and files of tests: see test_job.h.
#include "tests/support/test_job.h"

#include <fstream>
#include <iterator>

#include "absl/log/check.h"

namespace modelpress::testing {

TestJob::TestJob(size_t threads, uint64_t quota_bytes) : pool_(threads) {
  auto scratch = Scratch::Temporary(quota_bytes);
  CHECK(scratch.ok()) << scratch.status();
  scratch_ = *std::move(scratch);
  context_.pool = &pool_;
  context_.scratch = scratch_.get();
  context_.cancellation = &cancellation_;
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  CHECK(file.good()) << path;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace modelpress::testing
