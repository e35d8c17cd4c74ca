// What the options of quantize_weights mean for one weight; see weight_coding.h.
#include "core/quant/weight_coding.h"

#include <algorithm>
#include <bit>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

constexpr uint32_t kDefaultBlockSize = 32;
constexpr uint32_t kSmallestBlock = 16, kLargestBlock = 256;

using Options = v1::QuantizeWeights;

// The options of a rule where it has them, else those for all.
struct Choice {
  Options::Type type;
  Options::Scheme scheme;
  Options::Granularity granularity;
  uint32_t block_size;
  Options::Method method;

  bool eight_bits() const { return type == Options::TYPE_INT8 || type == Options::TYPE_UINT8; }
};

Choice Resolve(const Options& all, const Options::Rule* rule) {
  Choice choice{all.type(), all.scheme(), all.granularity(), all.block_size(), all.method()};
  if (rule != nullptr) {
    if (rule->type() != Options::TYPE_UNSPECIFIED) choice.type = rule->type();
    if (rule->scheme() != Options::SCHEME_UNSPECIFIED) choice.scheme = rule->scheme();
    if (rule->granularity() != Options::GRANULARITY_UNSPECIFIED) {
      choice.granularity = rule->granularity();
    }
    if (rule->block_size() != 0) choice.block_size = rule->block_size();
    if (rule->method() != Options::METHOD_UNSPECIFIED) choice.method = rule->method();
  }
  if (choice.type == Options::TYPE_UNSPECIFIED) choice.type = Options::TYPE_INT8;
  if (choice.granularity == Options::GRANULARITY_UNSPECIFIED) {
    const bool blocks = !choice.eight_bits() || choice.block_size != 0;
    choice.granularity = blocks ? Options::GRANULARITY_PER_BLOCK : Options::GRANULARITY_PER_CHANNEL;
  }
  if (choice.block_size == 0) choice.block_size = kDefaultBlockSize;
  if (choice.method == Options::METHOD_UNSPECIFIED) {
    choice.method = choice.eight_bits() ? Options::METHOD_RTN : Options::METHOD_KQUANT;
  }
  if (choice.scheme == Options::SCHEME_UNSPECIFIED) {
    const bool symmetric = (choice.eight_bits() || choice.type == Options::TYPE_INT4) &&
                           choice.method != Options::METHOD_HQQ;
    choice.scheme = symmetric ? Options::SCHEME_SYMMETRIC : Options::SCHEME_ASYMMETRIC;
  }
  return choice;
}

absl::Status Invalid(std::string_view path, std::string_view why) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, why)).With("field", path);
}

absl::Status Check(const Options& all, const Options::Rule* rule, uint32_t block_size,
                   std::string_view path) {
  if (block_size != 0 && (block_size < kSmallestBlock || block_size > kLargestBlock ||
                          !std::has_single_bit(block_size))) {
    return Invalid(FormatString("{}.block_size", path), "must be 16, 32, 64, 128 or 256");
  }
  const Choice choice = Resolve(all, rule);
  if (choice.granularity == Options::GRANULARITY_PER_TENSOR && !choice.eight_bits()) {
    return Invalid(FormatString("{}.granularity", path),
                   "per_tensor needs type int8 or uint8; fewer bits need per_block or per_channel");
  }
  if (choice.method == Options::METHOD_HQQ && choice.scheme == Options::SCHEME_SYMMETRIC) {
    return Invalid(FormatString("{}.method", path),
                   "hqq fits the zero point: it needs scheme asymmetric");
  }
  if (choice.eight_bits() && choice.granularity != Options::GRANULARITY_PER_BLOCK &&
      choice.method != Options::METHOD_RTN) {
    return Invalid(FormatString("{}.method", path),
                   "int8 and uint8 per channel or tensor are rounded to nearest (rtn); other "
                   "methods need per_block or fewer bits");
  }
  return absl::OkStatus();
}

BlockMethod MethodOf(Options::Method method) {
  switch (method) {
    case Options::METHOD_MSE_CLIP:
      return BlockMethod::kMseClip;
    case Options::METHOD_KQUANT:
    case Options::METHOD_GPTQ:  // for the scales of each block
      return BlockMethod::kKQuant;
    case Options::METHOD_HQQ:
      return BlockMethod::kHqq;
    case Options::METHOD_SCALE_ESTIMATION:
    case Options::METHOD_AWQ:
      return BlockMethod::kWeightedFit;
    default:
      return BlockMethod::kRoundToNearest;
  }
}

int BitsOf(Options::Type type) {
  switch (type) {
    case Options::TYPE_INT4:
    case Options::TYPE_UINT4:
      return 4;
    case Options::TYPE_INT3:
      return 3;
    case Options::TYPE_INT2:
      return 2;
    default:
      return 8;
  }
}

bool Matches(const Options::Rule& rule, const CandidateWeight& weight) {
  for (const std::string& glob : rule.match()) {
    if (GlobMatches(glob, weight.name)) return true;
    for (const Use& use : weight.uses) {
      if (GlobMatches(glob, use.node->name())) return true;
    }
  }
  return false;
}

}  // namespace

WeightCoding CodingFor(const Options& options, const CandidateWeight& weight) {
  const Options::Rule* matched = nullptr;
  for (const Options::Rule& rule : options.rules()) {
    if (!Matches(rule, weight)) continue;
    matched = &rule;
    break;
  }
  const Choice choice = Resolve(options, matched);
  WeightCoding coding;
  coding.keep_float = matched != nullptr && matched->keep_float();
  coding.is_signed = choice.type != Options::TYPE_UINT8 && choice.type != Options::TYPE_UINT4;
  const bool symmetric = choice.scheme == Options::SCHEME_SYMMETRIC;
  // Rows of a table that is gathered have no blocks of 8-bit codes.
  bool gathered = false;
  for (const Use& use : weight.uses) gathered = gathered || use.node->op_type() == "Gather";
  coding.whole_channels =
      choice.eight_bits() && (choice.granularity != Options::GRANULARITY_PER_BLOCK || gathered);
  // See code_weight.h: a DequantizeLinear must not stand before operators that move values.
  coding.moved = weight.is_moved && !coding.whole_channels;
  coding.whole_channels = coding.whole_channels || coding.moved;
  coding.affine = {coding.is_signed ? CodeType::kInt8 : CodeType::kUint8, symmetric};
  coding.per_channel = choice.granularity != Options::GRANULARITY_PER_TENSOR;
  coding.block_rule = {BitsOf(choice.type), symmetric, MethodOf(choice.method)};
  coding.blocks = {choice.granularity == Options::GRANULARITY_PER_BLOCK ? choice.block_size : 0,
                   options.encoding() == Options::ENCODING_MATMUL_NBITS};
  if (choice.method == Options::METHOD_SCALE_ESTIMATION) coding.calibration = Calibration::kEnergy;
  if (choice.method == Options::METHOD_GPTQ) coding.calibration = Calibration::kGram;
  if (choice.method == Options::METHOD_AWQ) coding.calibration = Calibration::kFactors;
  return coding;
}

BlockWeight MakeBlockWeight(const CandidateWeight& weight, const WeightCoding& coding) {
  BlockWeight block;
  block.weight = weight;
  block.rule = coding.block_rule;
  block.is_signed = coding.is_signed;
  return block;
}

bool CodesBlocks(const Options& options) {
  const auto blocks = [&](const Options::Rule* rule) {
    const Choice choice = Resolve(options, rule);
    return !choice.eight_bits() || choice.granularity == Options::GRANULARITY_PER_BLOCK;
  };
  return blocks(nullptr) || std::ranges::any_of(options.rules(), [&](const Options::Rule& rule) {
           return blocks(&rule);
         });
}

bool UsesData(const Options& options) {
  const auto uses = [](Options::Method method) {
    return method == Options::METHOD_SCALE_ESTIMATION || method == Options::METHOD_GPTQ ||
           method == Options::METHOD_AWQ;
  };
  return options.max_bytes() > 0 || uses(options.method()) ||
         std::ranges::any_of(options.rules(),
                             [&](const Options::Rule& rule) { return uses(rule.method()); });
}

absl::Status ValidateCoding(const Options& options) {
  constexpr int kMaxRules = 1000;
  MP_RETURN_IF_ERROR(Check(options, nullptr, options.block_size(), "quantize_weights"));
  if (options.rules_size() > kMaxRules) {
    return Invalid("quantize_weights.rules", FormatString("has more than {} entries", kMaxRules));
  }
  for (int i = 0; i < options.rules_size(); ++i) {
    const Options::Rule& rule = options.rules(i);
    const std::string path = FormatString("quantize_weights.rules[{}]", i);
    if (rule.match().empty()) return Invalid(path + ".match", "must name some weights");
    for (const std::string& glob : rule.match()) {
      if (glob.empty()) return Invalid(path + ".match", "has an empty entry");
    }
    MP_RETURN_IF_ERROR(Check(options, &rule, rule.block_size(), path));
  }
  return absl::OkStatus();
}

}  // namespace modelpress
