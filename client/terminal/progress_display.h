// Progress on stderr: one bar that redraws itself on a terminal, one line per step anywhere else.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace modelpress {

// Thread-safe.
class ProgressDisplay {
 public:
  enum class Style {
    kBar,    // redrawn in place
    kLines,  // a line when a phase begins, and every tenth of it
    kQuiet,  // nothing but notes
  };
  // The bar if stderr is a terminal that can move its cursor, lines otherwise.
  static Style StyleOfStderr();

  explicit ProgressDisplay(Style style);
  // Leaves the terminal clean.
  ~ProgressDisplay();

  // `fraction` is over the whole job, `phase_fraction` within the phase, both 0..1; negative: not known.
  void Update(std::string_view phase, double phase_fraction, double fraction,
              std::string_view detail);
  // A line of its own that stays, above the bar.
  void Note(std::string_view line);
  // Removes the bar. Nothing is drawn afterwards until the next Update.
  void Clear();

 private:
  void Draw(int64_t now_ms);

  std::mutex mutex_;
  Style style_;
  int64_t drawn_ms_ = 0;
  bool on_screen_ = false;
  std::string phase_;
  std::string detail_;
  double phase_fraction_ = -1;
  double fraction_ = 0;
  int tenth_ = -1;
  // Where the stretch began by which the time left is guessed.
  int64_t eta_from_ms_;
  double eta_from_fraction_ = 0;
};

// The bar's line for a terminal of `columns`: "[####----]  42% quantize_weights fc.weight, 12 s left". Never wider than
// columns - 1 (a full last column wraps on some terminals). `seconds_left` < 0: not known.
std::string BarLine(size_t columns, double fraction, std::string_view phase,
                    std::string_view detail, double seconds_left);

}  // namespace modelpress
