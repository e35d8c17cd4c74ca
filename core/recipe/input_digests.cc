// Digests beside the passes: see input_digests.h.
#include "core/recipe/input_digests.h"

#include <algorithm>

#include "core/base/sha256.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr size_t kPieceBytes = 4 << 20;  // between looks at the cancellation

}  // namespace

InputDigests::InputDigests(const JobInputs& inputs, const Cancellation& cancellation)
    : cancellation_(cancellation), thread_([this, &inputs] { Compute(inputs); }) {}

InputDigests::~InputDigests() {
  abandoned_ = true;
  if (thread_.joinable()) thread_.join();
}

void InputDigests::Compute(const JobInputs& inputs) {
  std::vector<const InputFile*> files = {&inputs.model.main};
  for (const InputFile& file : inputs.model.sidecars) files.push_back(&file);
  for (const InputFile* further : {&inputs.student, &inputs.graph}) {
    if (further->file != nullptr) files.push_back(further);
  }
  for (const InputFile* file : files) {
    if (const auto known = inputs.known_sha256.find(file->name);
        known != inputs.known_sha256.end()) {
      digests_[file->name] = known->second;
      continue;
    }
    Sha256 digest;
    std::span<const std::byte> rest = file->file->bytes();
    while (!rest.empty()) {
      if (abandoned_) return;
      status_ = cancellation_.Check();
      if (!status_.ok()) return;
      const auto piece = rest.first(std::min(kPieceBytes, rest.size()));
      digest.Update(piece);
      rest = rest.subspan(piece.size());
    }
    digests_[file->name] = digest.FinishHex();
  }
}

absl::StatusOr<std::map<std::string, std::string>> InputDigests::Wait() {
  if (thread_.joinable()) thread_.join();
  MP_RETURN_IF_ERROR(status_);
  return digests_;
}

}  // namespace modelpress
