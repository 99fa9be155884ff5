#include "all.hpp"

int main() {}
