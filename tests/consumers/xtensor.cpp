#include <xtensor/xtensor.hpp>

#include <stroma/version.hpp>

int main() { return xt::xtensor<double, 1>({3}).size() == 3 ? 0 : 1; }
