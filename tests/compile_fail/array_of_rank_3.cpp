// expect: stroma::array: rank 1 or 2
#include <stroma/core/array.hpp>

int main() { stroma::array<float, 3> a; }
