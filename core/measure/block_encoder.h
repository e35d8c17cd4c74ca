// Codes of few bits for one weight after another, by the method that the options name, never worse
// than plain rounding.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/measure/weight_inputs.h"
#include "core/quant/block_weight.h"
#include "core/quant/gptq.h"
#include "core/quant/progress.h"
#include "core/quant/weight_coding.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

// Not thread-safe; uses the pool inside. What is referred to must outlive it.
class BlockEncoder {
 public:
  BlockEncoder(const Model& model, const WeightInputs& inputs, WeightArena& arena,
               const JobContext& job)
      : model_(model), inputs_(inputs), arena_(arena), job_(job) {}

  // Fills in the codes of `block`, whose layout is chosen, and the change's figures. Methods with
  // data are judged by the layer's output on held-back samples, others by the weight's own error;
  // plain rounding takes the place of what is worse. A skip if values are not finite.
  absl::StatusOr<std::optional<v1::Skip>> Encode(const WeightCoding& coding, BlockWeight* block,
                                                 WeightProgress& progress, v1::Change* change);

  // What a person should know of all weights together: how often the method was better than plain
  // rounding, and where it could not be had.
  void AddNotes(v1::PassReport* report) const;

 private:
  // Squared errors of the layer's output.
  struct OutputErrors {
    double signal = 0, error = 0, plain_error = 0;
  };
  struct Attempt {
    EncodedBlocks blocks;
    // Where the method was judged by the output.
    std::optional<OutputErrors> output;

    bool worse_than_plain() const;
  };

  // Each writes the codes. `reason` tells why it became another method than the one asked for.
  absl::StatusOr<Attempt> EncodeBy(const WeightCoding& coding, BlockWeight* block,
                                   const ByteProgress& progress, std::string* reason);
  absl::StatusOr<Attempt> EncodeGptqOf(const ValueStatistics& statistics, BlockWeight* block,
                                       const ByteProgress& progress, std::string* reason);
  absl::StatusOr<Attempt> EncodeWeighted(const ValueStatistics& statistics, BlockWeight* block,
                                         const ByteProgress& progress);
  absl::StatusOr<Attempt> EncodeScaled(const ValueStatistics* statistics, std::vector<float> energy,
                                       BlockWeight* block, const ByteProgress& progress);
  absl::StatusOr<Attempt> EncodeAlone(BlockMethod method, BlockWeight* block,
                                      const ByteProgress& progress);
  absl::StatusOr<const GptqFactor*> Factor(const BlockWeight& block, const Gram& gram);
  absl::StatusOr<std::span<const std::byte>> Values(const BlockWeight& block) const {
    return model_.Bytes(*block.weight.tensor);
  }

  const Model& model_;
  const WeightInputs& inputs_;
  WeightArena& arena_;
  const JobContext& job_;
  // Of the input and block size that came last: weights with the same input follow each other.
  std::optional<std::pair<ValueKey, GptqFactor>> factor_;
  int better_ = 0, rounded_ = 0, fallbacks_ = 0;
  std::string first_fallback_;
};

}  // namespace modelpress
