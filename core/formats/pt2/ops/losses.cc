// Losses, for modules that give them in eval mode too.
//
//   mse, l1, smooth_l1, huber, binary_cross_entropy(_with_logits), kl_div -> their formulas, then mean, sum or nothing
//   nll_loss, cross_entropy_loss of class numbers -> (LogSoftmax,) NegativeLogLikelihoodLoss; of probabilities -> a sum
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// reduction: 0 none, 1 mean, 2 sum.
void OutReduced(OperatorContext& c, const std::string& loss, DataType type) {
  const int64_t reduction = c.Int("reduction", 1);
  if (reduction == 0) return c.Out(loss, type);
  c.Out(c.Add(reduction == 1 ? "ReduceMean" : "ReduceSum", {loss}, {{"keepdims", int64_t{0}}}),
        type);
}

void Differences(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string_view name = c.name();
  const std::string apart = c.Add("Sub", {c.InAs("self", type), c.InAs("target", type)});
  if (name == "mse_loss") return OutReduced(c, c.Add("Mul", {apart, apart}), type);
  const std::string size = c.Add("Abs", {apart});
  const double edge = name == "smooth_l1_loss" ? c.Float("beta", 1) : c.Float("delta", 1);
  if (name == "l1_loss" || (name == "smooth_l1_loss" && edge == 0))
    return OutReduced(c, size, type);
  // smooth_l1: d^2 / (2 beta) and d - beta / 2; huber: d^2 / 2 and delta (d - delta / 2)
  const bool huber = name == "huber_loss";
  const std::string near =
      c.Add("Mul", {c.Add("Mul", {size, size}), c.Number(type, huber ? 0.5 : 0.5 / edge)});
  std::string far = c.Add("Sub", {size, c.Number(type, edge / 2)});
  if (huber) far = c.Add("Mul", {far, c.Number(type, edge)});
  OutReduced(c, c.Add("Where", {c.Add("Less", {size, c.Number(type, edge)}), near, far}), type);
}

void BinaryCrossEntropy(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type), target = c.InAs("target", type);
  const std::string one = c.Number(type, 1), others = c.Add("Sub", {one, target});
  std::string loss;
  if (c.name() == "binary_cross_entropy") {
    const auto log = [&](const std::string& value) {
      return c.Add("Max", {c.Add("Log", {value}), c.Number(type, -100)});
    };
    const std::string sum = c.Add("Add", {c.Add("Mul", {target, log(x)}),
                                          c.Add("Mul", {others, log(c.Add("Sub", {one, x}))})});
    loss = c.Add("Neg", {sum});
  } else {
    std::string soft = c.Add("Softplus", {c.Add("Neg", {x})});
    if (c.Has("pos_weight")) {
      const std::string more = c.Add("Sub", {c.InAs("pos_weight", type), one});
      soft = c.Add("Mul", {soft, c.Add("Add", {one, c.Add("Mul", {more, target})})});
    }
    loss = c.Add("Add", {c.Add("Mul", {others, x}), soft});
  }
  if (c.Has("weight")) loss = c.Add("Mul", {loss, c.InAs("weight", type)});
  OutReduced(c, loss, type);
}

void KlDivergence(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type), target = c.InAs("target", type);
  if (c.Bool("log_target", false)) {
    return OutReduced(c, c.Add("Mul", {c.Add("Exp", {target}), c.Add("Sub", {target, x})}), type);
  }
  const std::string zero = c.Number(type, 0);
  const std::string inside = c.Add("Mul", {target, c.Add("Log", {target})});
  const std::string entropy = c.Add("Where", {c.Add("Equal", {target, zero}), zero, inside});
  OutReduced(c, c.Add("Sub", {entropy, c.Add("Mul", {target, x})}), type);
}

// Of log-probabilities [N, C, ...] or [C].
void OutLikelihood(OperatorContext& c, std::string x, DataType type) {
  constexpr const char* kReductions[] = {"none", "mean", "sum"};
  const int64_t reduction = c.Int("reduction", 1);
  if (reduction < 0 || reduction > 2) return c.Malformed("its reduction is not known");
  std::string target = c.InAs("target", DataType::kInt64);
  const bool alone = c.Rank("self") == 1;
  if (alone) {
    x = c.Unsqueeze(x, {0});
    target = c.Reshape(target, Ints{1});
  }
  Names inputs = {x, target};
  if (c.Has("weight")) inputs.push_back(c.InAs("weight", type));
  std::string loss = c.Add("NegativeLogLikelihoodLoss", std::move(inputs),
                           {{"reduction", std::string(kReductions[reduction])},
                            {"ignore_index", c.Int("ignore_index", -100)}});
  if (alone && reduction == 0) loss = c.Reshape(loss, Ints{});
  c.Out(loss, type);
  if (c.Wants(1)) c.Refuse("the sum of its weights is read");
}

void Likelihood(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  OutLikelihood(c, c.InAs("self", type), type);
}

void CrossEntropy(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  if (c.Float("label_smoothing", 0) != 0) return c.Refuse("it smooths its labels");
  const int64_t axis = c.Rank("self") == 1 ? 0 : 1;
  const std::string x = c.Add("LogSoftmax", {c.InAs("self", type)}, {{"axis", axis}});
  if (!IsFloating(c.Type("target"))) return OutLikelihood(c, x, type);
  std::string product = c.Add("Mul", {x, c.InAs("target", type)});
  if (c.Has("weight")) {
    Ints dims(static_cast<size_t>(c.Rank("self")), 1);
    dims[static_cast<size_t>(axis)] = -1;
    product = c.Add("Mul", {product, c.Reshape(c.InAs("weight", type), dims)});
  }
  const std::string sum =
      c.Add("ReduceSum", {product, c.Ints64({axis})}, {{"keepdims", int64_t{0}}});
  OutReduced(c, c.Add("Neg", {sum}), type);
}

}  // namespace

void RegisterPt2Operators_losses(OperatorRegistry& registry) {
  registry.Add({"aten.mse_loss", "aten.l1_loss", "aten.smooth_l1_loss", "aten.huber_loss"},
               Differences);
  registry.Add({"aten.binary_cross_entropy", "aten.binary_cross_entropy_with_logits"},
               BinaryCrossEntropy);
  registry.Add("aten.kl_div", KlDivergence);
  registry.Add({"aten.nll_loss", "aten.nll_loss_nd", "aten.nll_loss_forward", "aten.nll_loss2d",
                "aten.nll_loss2d_forward"},
               Likelihood);
  registry.Add("aten.cross_entropy_loss", CrossEntropy);
}

}  // namespace modelpress::pt2
