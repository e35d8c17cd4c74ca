// Drawing progress; see progress_display.h. ASCII only: right in every locale.
#include "client/terminal/progress_display.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/terminal/format.h"

namespace modelpress {
namespace {

constexpr int64_t kRedrawMs = 100;
constexpr size_t kDefaultColumns = 80;
constexpr char kEraseLine[] = "\r\033[K";

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

size_t TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultColumns;
}

// The first `width` columns of a printable text.
std::string_view Clip(std::string_view text, size_t width) {
  size_t end = 0;
  while (end < text.size()) {
    size_t next = end + 1;
    while (next < text.size() && (text[next] & 0xc0) == 0x80) ++next;
    if (width-- == 0) break;
    end = next;
  }
  return text.substr(0, end);
}

}  // namespace

std::string BarLine(size_t columns, double fraction, std::string_view phase,
                    std::string_view detail, double seconds_left) {
  const size_t usable = columns > 1 ? columns - 1 : 0;
  const double share = std::clamp(fraction, 0.0, 1.0);
  std::string line;
  if (usable >= 40) {
    const size_t cells = std::min<size_t>(30, usable / 3);
    const auto filled = static_cast<size_t>(share * static_cast<double>(cells));
    line = absl::StrCat("[", std::string(filled, '#'), std::string(cells - filled, '-'), "] ");
  }
  // Rounded down: 100% only when all is done.
  line += absl::StrFormat("%3d%% %s", static_cast<int>(share * 100), std::string(phase));
  if (!detail.empty()) absl::StrAppend(&line, " ", std::string(detail));
  const std::string left =
      seconds_left >= 0 ? absl::StrCat(", ", FormatSeconds(seconds_left), " left") : "";
  if (DisplayWidth(line) + left.size() > usable) {
    line = Clip(line, usable > left.size() ? usable - left.size() : 0);
  }
  line += left;
  return std::string(Clip(line, usable));
}

ProgressDisplay::Style ProgressDisplay::StyleOfStderr() {
  const char* terminal = getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return isatty(STDERR_FILENO) && !dumb ? Style::kBar : Style::kLines;
}

ProgressDisplay::ProgressDisplay(Style style) : style_(style), eta_from_ms_(NowMs()) {}

ProgressDisplay::~ProgressDisplay() { Clear(); }

void ProgressDisplay::Update(std::string_view phase, double phase_fraction, double fraction,
                             std::string_view detail) {
  std::lock_guard lock(mutex_);
  const bool new_phase = phase != phase_;
  phase_ = Printable(phase);
  detail_ = Printable(detail);
  phase_fraction_ = phase_fraction;
  const int64_t now = NowMs();
  // The guess of the time left stands on this stretch only: uploads, queues and earlier tries say nothing about it.
  if (fraction < fraction_) eta_from_fraction_ = std::max(0.0, fraction);
  if (fraction <= eta_from_fraction_) eta_from_ms_ = now;
  fraction_ = fraction;
  if (style_ == Style::kBar) {
    if (new_phase || now - drawn_ms_ >= kRedrawMs) Draw(now);
    return;
  }
  if (style_ == Style::kQuiet) return;
  const int tenth = static_cast<int>(std::floor(phase_fraction * 10 + 1e-9));
  if (!new_phase && tenth <= tenth_) return;
  tenth_ = tenth;
  fprintf(stderr, "%3d%% %s", static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100),
          phase_.c_str());
  if (phase_fraction > 0)
    fprintf(stderr, " %d%%", static_cast<int>(std::min(phase_fraction, 1.0) * 100));
  fprintf(stderr, "%s%s\n", detail_.empty() ? "" : " ", detail_.c_str());
}

void ProgressDisplay::Draw(int64_t now_ms) {
  double left = -1;
  const double done = fraction_ - eta_from_fraction_;
  const double elapsed = static_cast<double>(now_ms - eta_from_ms_) / 1000;
  // Below a twentieth or two seconds a guess would only jump about.
  if (done > 0.05 && elapsed > 2) left = elapsed * (1 - fraction_) / done;
  const std::string line = BarLine(TerminalColumns(), fraction_, phase_, detail_, left);
  fprintf(stderr, "%s%s", kEraseLine, line.c_str());
  fflush(stderr);
  on_screen_ = true;
  drawn_ms_ = now_ms;
}

void ProgressDisplay::Note(std::string_view line) {
  std::lock_guard lock(mutex_);
  fprintf(stderr, "%s%s\n", on_screen_ ? kEraseLine : "", Printable(line).c_str());
  on_screen_ = false;
}

void ProgressDisplay::Clear() {
  std::lock_guard lock(mutex_);
  if (!on_screen_) return;
  fputs(kEraseLine, stderr);
  fflush(stderr);
  on_screen_ = false;
}

}  // namespace modelpress
