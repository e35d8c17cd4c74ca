// Included before everything else by the sanitizer presets: keeps the headers of libraries that Debian built without
// instrumentation from switching their ASan annotations on, which the compiled halves know nothing of (flat_hash_map
// would crash, Cord and arenas report false errors). As a system header it may take away what the compiler defines.
#pragma GCC system_header
#ifdef __clang__
// clang's own headers need __has_feature; abseil decides once, here.
#pragma push_macro("__has_feature")
#undef __has_feature
#define __has_feature(feature) 0
#include <absl/base/config.h>
#pragma pop_macro("__has_feature")
#else
#undef __SANITIZE_ADDRESS__
#undef __has_feature
#endif
