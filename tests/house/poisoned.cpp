// Macros that other people's headers define. The standard library and what the library adapts come first: they are not
// ours to test.
#if __has_include(<bits/stdc++.h>)
#include <bits/stdc++.h>
#endif
#include <Eigen/Dense>
#ifdef STROMA_TEST_XTENSOR
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>
#endif

// windows.h, but for min and max: whoever includes it defines NOMINMAX, and libstdc++ undefines them anyway
#define small poisoned
#define near poisoned
#define far poisoned
#define interface poisoned
#define ERROR poisoned
#define IN poisoned
#define OUT poisoned
// sys/sysmacros.h
#define major(x) poisoned
#define minor(x) poisoned
// complex.h and users' own habits
#define I poisoned
#define N poisoned
#define T_ poisoned
// logging libraries
#define CHECK(x) poisoned
#define LOG(x) poisoned

#include "all.hpp"
