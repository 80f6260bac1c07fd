package chaffcheck

import (
	"cmp"
	"math"
	"slices"
)

// distance is the two-sample Kolmogorov–Smirnov statistic: the greatest distance
// between the shares of both samples that are no greater than some value. Both must
// have at least one element.
func distance[T cmp.Ordered](a, b []T) float64 {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	var i, j int
	var greatest float64
	for i < len(a) && j < len(b) {
		least := min(a[i], b[j])
		for i < len(a) && a[i] == least {
			i++
		}
		for j < len(b) && b[j] == least {
			j++
		}
		greatest = max(greatest, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return greatest
}

// significance is about the probability that two samples, of n and m independent
// elements of one distribution, are at least so distant: Kolmogorov's limit, with
// Stephens's correction for small samples (Journal of the Royal Statistical Society B
// 32, 1970). With ties it errs towards 1.
func significance(distance float64, n, m int) float64 {
	root := math.Sqrt(float64(n) * float64(m) / float64(n+m))
	return kolmogorov((root + 0.12 + 0.11/root) * distance)
}

// kolmogorov is the probability that Kolmogorov's distribution exceeds x.
func kolmogorov(x float64) float64 {
	if x < 0.2 { // below it differs from 1 by less than the series can tell
		return 1
	}
	var sum float64
	sign := 1.0
	for k := 1.0; k <= 100; k++ {
		sum += sign * math.Exp(-2*k*k*x*x)
		sign = -sign
	}
	return min(1, max(0, 2*sum))
}
