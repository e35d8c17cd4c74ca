// What passes did, as bars, plots and tables: see html_passes.h.
#include "client/report/html_passes.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/report/html.h"
#include "client/terminal/format.h"
#include "client/terminal/report_view.h"
#include "client/terminal/training_view.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// Layers that are drawn at once; the others are folded up.
constexpr size_t kLayersShown = 25;
constexpr size_t kPlotsShown = 9;
constexpr int kTrainingsShown = 2;
// A full bar: what 8-bit weights of well-behaved layers reach, so that the worst stand out.
constexpr double kFullDb = 60;
// Below these a layer is worth a look (rounding to 4 and to 3 bits gives about as much).
constexpr double kPoorDb = 15, kFairDb = 22;

std::string_view Tone(double db) { return db < kPoorDb ? "bad" : db < kFairDb ? "fair" : "plain"; }

std::string NameOf(const Change& change) {
  return change.tensor().empty() ? change.node() : change.tensor();
}

// Layers by the error of their weights, the worst first.
std::string Layers(const PassReport& pass) {
  std::vector<const Change*> changes;
  for (const Change& change : pass.changes()) {
    if (change.has_sqnr_db()) changes.push_back(&change);
  }
  if (changes.empty()) return "";
  std::ranges::stable_sort(changes, {}, [](const Change* change) { return change->sqnr_db(); });
  std::vector<Bar> shown, folded;
  for (size_t i = 0; i < changes.size(); ++i) {
    const Change& change = *changes[i];
    std::string label = FormatNumber(change.sqnr_db()) + " dB";
    if (change.has_sparsity() && change.sparsity() > 0.005) {
      absl::StrAppend(&label, ", ", FormatPercent(change.sparsity()), " zeros");
    }
    (i < kLayersShown ? shown : folded)
        .push_back({NameOf(change), change.sqnr_db() / kFullDb, label, Tone(change.sqnr_db()),
                    absl::StrCat(change.tensor(), " of ", change.node(), ": ", change.what())});
  }
  std::string html =
      absl::StrCat("<h3>Error by layer, SQNR of the weights: worst is ", EscapeHtml(shown[0].name),
                   ", ", EscapeHtml(shown[0].label), "</h3>\n", HtmlBars(shown));
  if (!folded.empty())
    html += HtmlDetails(absl::StrCat(folded.size(), " better layers"), HtmlBars(folded));
  return html;
}

// Bytes before and after, the largest first.
std::string LayerSizes(const PassReport& pass) {
  std::vector<const Change*> changes;
  for (const Change& change : pass.changes()) {
    if (change.has_bytes_before() && change.has_bytes_after()) changes.push_back(&change);
  }
  if (changes.empty()) return "";
  std::ranges::stable_sort(changes, std::greater(), &Change::bytes_before);
  const double most = static_cast<double>(std::max<uint64_t>(1, changes[0]->bytes_before()));
  std::vector<Bar> shown, folded;
  for (size_t i = 0; i < changes.size(); ++i) {
    const Change& change = *changes[i];
    std::vector<Bar>& bars = i < kLayersShown ? shown : folded;
    bars.push_back({NameOf(change), static_cast<double>(change.bytes_before()) / most,
                    FormatBytes(change.bytes_before()), "before", ""});
    bars.push_back({"", static_cast<double>(change.bytes_after()) / most,
                    FormatBytes(change.bytes_after()), "plain", NameOf(change)});
  }
  std::string html = absl::StrCat("<h3>Size by layer, before and after</h3>\n", HtmlBars(shown));
  if (!folded.empty()) {
    html += HtmlDetails(absl::StrCat(folded.size() / 2, " smaller layers"), HtmlBars(folded));
  }
  return html;
}

// Heights by the logarithm of the counts, since the tails matter; what lies outside of the chosen range is in another
// colour, and its limits are marked.
std::string Plot(const Change& change) {
  const ActivationGrid& grid = change.activations();
  const ValueHistogram& histogram = grid.histogram();
  const double width = histogram.high() - histogram.low();
  if (histogram.counts().empty() || !(width > 0)) return "";
  uint64_t most = 1;
  for (const uint64_t count : histogram.counts()) most = std::max(most, count);
  const double bins = histogram.counts_size();
  std::string svg;
  for (int i = 0; i < histogram.counts_size(); ++i) {
    if (histogram.counts(i) == 0) continue;
    const double height = 70 * std::log1p(static_cast<double>(histogram.counts(i))) /
                          std::log1p(static_cast<double>(most));
    const double middle = histogram.low() + (i + 0.5) * width / bins;
    const bool inside = middle >= grid.min() && middle <= grid.max();
    absl::StrAppendFormat(
        &svg, "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>",
        inside ? "in" : "out", i * 300 / bins, 72 - height, 300 / bins, height);
  }
  for (const double limit : {grid.min(), grid.max()}) {
    const double x = std::clamp((limit - histogram.low()) / width, 0.0, 1.0) * 300;
    absl::StrAppendFormat(&svg, "<line x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"72\"/>", x, x);
  }
  return absl::StrCat("<div class=\"plot\"><div class=\"name\">",
                      EscapeHtml(change.node().empty() ? NameOf(change) : change.node()),
                      "</div><svg viewBox=\"0 0 300 72\" preserveAspectRatio=\"none\">", svg,
                      "</svg><div class=\"soft\">", FormatNumber(grid.min()), " to ",
                      FormatNumber(grid.max()), " of ", FormatNumber(histogram.low()), " to ",
                      FormatNumber(histogram.high()), "; ", FormatPercent(grid.clipped_share()),
                      " clipped</div></div>\n");
}

// Activations with the chosen ranges, the noisiest first.
std::string Histograms(const PassReport& pass) {
  std::vector<const Change*> changes;
  for (const Change& change : pass.changes()) {
    if (change.activations().has_histogram()) changes.push_back(&change);
  }
  if (changes.empty()) return "";
  std::ranges::stable_sort(changes, {},
                           [](const Change* change) { return change->activations().sqnr_db(); });
  std::string shown, folded;
  for (size_t i = 0; i < changes.size(); ++i)
    (i < kPlotsShown ? shown : folded) += Plot(*changes[i]);
  std::string html = absl::StrCat(
      "<h3>Activations and their chosen ranges, the noisiest first (heights are logarithms)</h3>\n",
      shown);
  if (!folded.empty())
    html += HtmlDetails(absl::StrCat(changes.size() - kPlotsShown, " more"), folded);
  return html;
}

// One line of a curve through its points, 0 at the bottom, `most` at the top.
std::string Curve(const TrainingRun& run, double most, std::string_view tone,
                  const std::function<std::optional<double>(const TrainingPoint&)>& value) {
  std::string points;
  const double steps = static_cast<double>(std::max<uint64_t>(1, run.steps()));
  for (const TrainingPoint& point : run.points()) {
    const std::optional<double> y = value(point);
    if (!y.has_value() || !std::isfinite(*y)) continue;
    absl::StrAppendFormat(&points, "%.2f,%.2f ", 300 * static_cast<double>(point.step()) / steps,
                          70 - 68 * std::clamp(*y / most, 0.0, 1.0));
  }
  return absl::StrCat("<polyline class=\"", std::string(tone), "\" points=\"", points, "\"/>");
}

// Size against the metric that students are held against: before training in grey, after in colour, with intervals and the
// requirement's line. Widths are by the logarithm of the parameters.
std::string StudentPlot(const PassReport& pass) {
  constexpr double kLeft = 56, kRight = 628, kTop = 10, kBottom = 190;
  struct Point {
    const MetricEstimate* estimate;
    double parameters;
    const char* tone;
    bool chosen;
    std::string hint;
  };
  std::vector<Point> points;
  double low = INFINITY, high = -INFINITY, least = INFINITY, most = 0;
  std::optional<double> required;
  for (const Student& student : pass.students()) {
    const auto add = [&](const auto& estimates, const char* tone, const char* when) {
      const MetricEstimate* estimate = BoundEstimate(estimates);
      if (estimate == nullptr || student.parameters() == 0 || !std::isfinite(estimate->value())) {
        return;
      }
      const double parameters = static_cast<double>(student.parameters());
      points.push_back(
          {estimate, parameters, tone, student.chosen(),
           absl::StrCat(FormatCount(student.parameters()), " parameters", when, ": ",
                        FormatNumber(estimate->value()), " (", FormatNumber(estimate->low()),
                        " to ", FormatNumber(estimate->high()), ")")});
      least = std::min(least, parameters);
      most = std::max(most, parameters);
      low = std::min(low, estimate->value());
      high = std::max(high, estimate->value());
      if (std::isfinite(estimate->high())) high = std::max(high, estimate->high());
      if (estimate->has_required()) required = estimate->required();
    };
    const bool control = student.kind() == Student::KIND_CONTROL;
    if (student.has_training() && !control) add(student.before(), "before", " before training");
    const bool trained = student.has_training() || student.kind() == Student::KIND_TEACHER;
    add(student.after(),
        control   ? "bad"
        : trained ? "plain"
                  : "before",
        control ? ", control" : "");
  }
  if (points.size() < 2) return "";
  if (required.has_value()) {
    low = std::min(low, *required);
    high = std::max(high, *required);
  }
  // One student that is far off must not flatten the others.
  if (required.has_value() && high > *required)
    low = std::max(low, *required - 6 * (high - *required));
  const double margin = std::max((high - low) * 0.08, 1e-9);
  low -= margin;
  high += margin;
  const auto x_of = [&](double parameters) {
    const double all = std::log(most / least);
    return all > 0 ? kLeft + 20 + (kRight - kLeft - 40) * std::log(parameters / least) / all
                   : (kLeft + kRight) / 2;
  };
  const auto y_of = [&](double value) {
    return kBottom - (kBottom - kTop) * std::clamp((value - low) / (high - low), 0.0, 1.0);
  };
  std::string svg;
  if (required.has_value()) {
    absl::StrAppendFormat(&svg,
                          "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"4\" "
                          "y=\"%.1f\">%s</text>",
                          kLeft, kRight, y_of(*required), y_of(*required), y_of(*required) + 4,
                          EscapeHtml(FormatNumber(*required)));
  }
  for (const Point& point : points) {
    const double x = x_of(point.parameters);
    const double bottom = std::isfinite(point.estimate->low()) ? point.estimate->low() : low;
    const double top = std::isfinite(point.estimate->high()) ? point.estimate->high() : high;
    absl::StrAppendFormat(&svg,
                          "<g class=\"%s\"><title>%s</title><path d=\"M%.1f %.1fV%.1f\"/><circle "
                          "cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"/></g>",
                          point.tone, EscapeHtml(point.hint), x, y_of(bottom), y_of(top), x,
                          y_of(point.estimate->value()), point.chosen ? 7 : 4);
  }
  absl::StrAppendFormat(&svg,
                        "<text x=\"%.1f\" y=\"206\">%s</text><text x=\"%.1f\" y=\"206\" "
                        "text-anchor=\"end\">%s parameters</text>",
                        kLeft, FormatCount(static_cast<uint64_t>(least)), kRight,
                        FormatCount(static_cast<uint64_t>(most)));
  return absl::StrCat("<div class=\"curve\"><svg viewBox=\"0 0 632 212\">", svg,
                      "</svg><div class=\"soft\">", EscapeHtml(points[0].estimate->metric()),
                      " by size: trained students in colour (the chosen one is larger), untrained "
                      "ones in grey, with "
                      "their intervals; the dashed line is the requirement</div></div>\n");
}

std::string Students(const PassReport& pass) {
  std::vector<std::vector<std::string>> rows = StudentRows(pass);
  if (rows.empty()) return "";
  for (auto& row : rows) {
    for (std::string& cell : row) cell = EscapeHtml(cell);
  }
  rows[0].push_back("why");
  for (int i = 0; i < pass.students_size(); ++i) {
    rows[static_cast<size_t>(i) + 1].push_back(EscapeHtml(pass.students(i).why()));
  }
  return absl::StrCat("<h3>Students</h3>\n", StudentPlot(pass), HtmlTable(rows));
}

std::string Trainings(const PassReport& pass) {
  std::string html;
  for (const TrainingRun& run : pass.trainings()) {
    double most = 1e-12;
    for (const TrainingPoint& point : run.points()) {
      if (std::isfinite(point.validation_loss())) most = std::max(most, point.validation_loss());
    }
    const std::string losses = Curve(run, most, "before",
                                     [](const auto& point) -> std::optional<double> {
                                       if (!point.has_loss()) return std::nullopt;
                                       return point.loss();
                                     }) +
                               Curve(run, most, "plain", [](const auto& point) {
                                 return std::optional(point.validation_loss());
                               });
    const std::string shares =
        Curve(run, 1, "before",
              [](const auto& point) -> std::optional<double> {
                if (!point.has_agreement()) return std::nullopt;
                return point.agreement();
              }) +
        Curve(run, 1, "plain", [](const auto& point) -> std::optional<double> {
          if (!point.has_accuracy()) return std::nullopt;
          return point.accuracy();
        });
    const auto plot = [](std::string_view title, const std::string& lines,
                         std::string_view legend) {
      return absl::StrCat("<div class=\"plot\"><div class=\"name\">", std::string(title),
                          "</div><svg viewBox=\"0 0 300 72\" preserveAspectRatio=\"none\">", lines,
                          "</svg><div class=\"soft\">", std::string(legend), "</div></div>\n");
    };
    std::vector<std::vector<std::string>> rows = TrainingRows(run);
    absl::StrAppend(&html, "<h3>", EscapeHtml(TrainingTitle(run)), "</h3>\n",
                    plot("Loss by step", losses, "validation, and training in grey"),
                    plot("Decisions by step", shares,
                         "right ones, and those that agree with the original in grey"),
                    HtmlDetails("the numbers", HtmlTable(rows)));
  }
  if (pass.trainings_size() <= kTrainingsShown) return html;
  return HtmlDetails(absl::StrCat("curves of ", pass.trainings_size(), " trainings"), html);
}

std::string Trail(const PassReport& pass) {
  std::vector<std::vector<std::string>> rows = TrailRows(pass);
  if (rows.empty()) return "";
  for (auto& row : rows) {
    for (std::string& cell : row) cell = EscapeHtml(cell);
  }
  return absl::StrCat("<h3>What was tried</h3>\n", HtmlTable(rows));
}

// What prune_channels left of each layer, in the order of the graph.
std::string Channels(const PassReport& pass) {
  std::vector<std::vector<std::string>> rows = {{"layer", "outputs", "inputs",
                                                 "multiply-accumulates", "output SQNR as cut, dB",
                                                 "refitted, dB"}};
  const auto pair = [](uint64_t before, uint64_t after) {
    return before == after ? absl::StrCat(before) : absl::StrCat(before, " to ", after);
  };
  for (const Change& change : pass.changes()) {
    if (!change.has_channels()) continue;
    const ChannelCut& cut = change.channels();
    rows.push_back(
        {EscapeHtml(change.node()), pair(cut.outputs_before(), cut.outputs_after()),
         pair(cut.inputs_before(), cut.inputs_after()),
         absl::StrFormat("%.3g to %.3g", cut.macs_before(), cut.macs_after()),
         change.has_plain_output_sqnr_db() ? FormatNumber(change.plain_output_sqnr_db()) : "",
         change.has_output_sqnr_db() ? FormatNumber(change.output_sqnr_db()) : ""});
  }
  return rows.size() == 1 ? "" : absl::StrCat("<h3>Channels by layer</h3>\n", HtmlTable(rows));
}

std::string Decisions(const PassReport& pass) {
  std::vector<std::vector<std::string>> changed = {{"tensor", "node", "what"}};
  for (const Change& change : pass.changes()) {
    changed.push_back(
        {EscapeHtml(change.tensor()), EscapeHtml(change.node()), EscapeHtml(change.what())});
  }
  std::map<std::string, std::vector<std::vector<std::string>>> skipped;
  for (const Skip& skip : pass.skips()) {
    auto& rows = skipped[skip.reason()];
    if (rows.empty()) rows.push_back({"tensor", "node", "why"});
    rows.push_back({EscapeHtml(skip.tensor()), EscapeHtml(skip.node()), EscapeHtml(skip.detail())});
  }
  std::string html;
  if (changed.size() > 1)
    html += HtmlDetails(absl::StrCat(changed.size() - 1, " changed"), HtmlTable(changed));
  for (const auto& [reason, rows] : skipped) {
    html += HtmlDetails(absl::StrCat(rows.size() - 1, " left alone: ", reason), HtmlTable(rows));
  }
  return html;
}

}  // namespace

std::string HtmlPasses(const Report& report) {
  std::string html;
  for (const PassReport& pass : report.passes()) {
    absl::StrAppend(&html, "<h2>", EscapeHtml(pass.pass()), "</h2>\n<p class=\"soft\">",
                    FormatSeconds(pass.seconds()), "; weights ",
                    FormatBytes(pass.weight_bytes_before()), " to ",
                    FormatBytes(pass.weight_bytes_after()), "</p>\n");
    for (const std::string& note : pass.notes())
      absl::StrAppend(&html, "<p>", EscapeHtml(note), "</p>\n");
    html += Students(pass) + Trainings(pass) + Trail(pass) + Channels(pass) + Layers(pass) +
            LayerSizes(pass) + Histograms(pass) + Decisions(pass);
  }
  return html;
}

}  // namespace modelpress
