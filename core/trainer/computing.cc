// Settings of libtorch and OpenBLAS: see computing.h.
#include "core/trainer/computing.h"

#include <dlfcn.h>

#include "core/trainer/aten.h"

namespace modelpress::trainer {

void SetUpComputing() {
  static thread_local bool done = false;
  if (done) return;
  done = true;
  at::set_num_threads(1);
  using SetThreads = void (*)(int);
  if (auto* const set = dlsym(RTLD_DEFAULT, "openblas_set_num_threads"); set != nullptr) {
    reinterpret_cast<SetThreads>(set)(1);
  }
  at::globalContext().setFlushDenormal(true);
}

}  // namespace modelpress::trainer
