// One row for each layer: the model with nothing but that layer changed.
#include "client/report/sensitivity_view.h"

#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/terminal/format.h"

namespace modelpress {
namespace {

std::string Share(const std::optional<double>& value) {
  return value.has_value() ? FormatPercent(*value) : "";
}

std::string Points(const std::optional<double>& drop) {
  return drop.has_value() ? absl::StrFormat("%+.2f points", 0 - *drop * 100) : "";
}

nlohmann::ordered_json LossJson(const ModelLoss& loss) {
  nlohmann::ordered_json row = nlohmann::ordered_json::object();
  // JSON has no infinity: an unchanged output has no number.
  if (std::isfinite(loss.sqnr_db)) row["model_sqnr_db"] = loss.sqnr_db;
  if (loss.agreement.has_value()) row["agreement"] = *loss.agreement;
  if (loss.accuracy_drop.has_value()) row["accuracy_drop"] = *loss.accuracy_drop;
  return row;
}

}  // namespace

std::string RenderSensitivity(const Sensitivity& sensitivity) {
  TextTable table;
  table.AddRow(
      {"layer", "read by", "model SQNR dB", "same top-1", "accuracy", "its own SQNR dB", "saves"});
  for (const LayerSensitivity& layer : sensitivity.layers) {
    table.AddRow({Printable(layer.tensor), Printable(layer.node), FormatNumber(layer.loss.sqnr_db),
                  Share(layer.loss.agreement), Points(layer.loss.accuracy_drop),
                  layer.weight_sqnr_db.has_value() ? FormatNumber(*layer.weight_sqnr_db) : "",
                  layer.saved_bytes.has_value() ? FormatBytes(*layer.saved_bytes) : ""});
  }
  table.AddRow({"all of them", "", FormatNumber(sensitivity.all.sqnr_db),
                Share(sensitivity.all.agreement), Points(sensitivity.all.accuracy_drop), "", ""});
  return absl::StrCat("Sensitivity on ", Printable(sensitivity.samples), ", the costliest first\n",
                      table.ToString());
}

nlohmann::ordered_json SensitivityJson(const Sensitivity& sensitivity) {
  nlohmann::ordered_json json = {{"samples", Printable(sensitivity.samples)},
                                 {"all", LossJson(sensitivity.all)},
                                 {"layers", nlohmann::ordered_json::array()}};
  for (const LayerSensitivity& layer : sensitivity.layers) {
    nlohmann::ordered_json row = {{"tensor", Printable(layer.tensor)},
                                  {"node", Printable(layer.node)}};
    row.update(LossJson(layer.loss));
    if (layer.weight_sqnr_db.has_value()) row["weight_sqnr_db"] = *layer.weight_sqnr_db;
    if (layer.saved_bytes.has_value()) row["saved_bytes"] = *layer.saved_bytes;
    json["layers"].push_back(std::move(row));
  }
  return json;
}

}  // namespace modelpress
