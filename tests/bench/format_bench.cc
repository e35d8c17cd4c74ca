// How long an ONNX model takes to load and to save again, and how much anonymous memory:
//
//   format_bench MODEL.onnx OUT_FOLDER [inline|sidecar|auto]
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "core/formats/format.h"
#include "core/formats/input_files.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Anonymous resident memory of this process, MiB.
double AnonymousMebibytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stod(line.substr(8)) / 1024;
  }
  return 0;
}

int Run(const std::string& path, const std::string& folder, const std::string& layout) {
  ThreadPool pool(1);
  auto scratch = Scratch::Temporary(0);
  if (!scratch.ok()) return 1;
  const JobContext context{.pool = &pool, .scratch = scratch->get()};
  const double start = Seconds();
  const auto files = OpenModelFiles(path);
  if (!files.ok()) return std::fprintf(stderr, "%s\n", files.status().ToString().c_str()), 1;
  const Format& onnx = *FormatRegistry::Get().Find("onnx");
  const auto model = onnx.Read(*files, Import(), context);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", model.status().ToString().c_str()), 1;
  const double loaded = Seconds();
  std::printf("load   %7.3f s   %6.1f MiB anonymous\n", loaded - start, AnonymousMebibytes());
  Output options;
  options.set_layout(layout == "inline"    ? Output::LAYOUT_INLINE
                     : layout == "sidecar" ? Output::LAYOUT_SIDECAR
                                           : Output::LAYOUT_AUTO);
  double sync_seconds = 0;
  const auto written = onnx.Write(*model, options, folder, "saved.onnx", context, &sync_seconds);
  if (!written.ok()) return std::fprintf(stderr, "%s\n", written.status().ToString().c_str()), 1;
  std::printf("save   %7.3f s   %6.1f MiB anonymous, and %.3f s waiting for the disk\n",
              Seconds() - loaded - sync_seconds, AnonymousMebibytes(), sync_seconds);
  return 0;
}

}  // namespace
}  // namespace modelpress

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: format_bench MODEL OUT_FOLDER [LAYOUT]\n"), 2;
  return modelpress::Run(argv[1], argv[2], argc > 3 ? argv[3] : "auto");
}
