package chaffcheck

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Points of Kolmogorov's distribution, from the usual tables.
func TestKolmogorov(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ x, want float64 }{
		{0, 1}, {0.1, 1}, {0.5, 0.9639}, {1, 0.2700}, {1.2238, 0.10}, {1.3581, 0.05}, {1.6276, 0.01}, {1.9495, 0.001}, {10, 0},
	} {
		if got := kolmogorov(test.x); math.Abs(got-test.want) > 1e-4 {
			t.Errorf("kolmogorov(%v) = %.5f, want %.4f", test.x, got, test.want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		a, b []int
		want float64
	}{
		{"the same", []int{1, 2, 3}, []int{3, 2, 1}, 0},
		{"apart", []int{1, 2}, []int{3, 4, 5}, 1},
		{"apart, the other way", []int{3, 4, 5}, []int{1, 2}, 1},
		{"half", []int{1, 2}, []int{2, 3}, 0.5},
		{"ties", []int{1, 1, 1, 2}, []int{1, 2, 2, 2}, 0.5},
		{"other lengths", []int{1, 2, 3, 4}, []int{2, 4}, 0.25},
		{"one each", []int{1}, []int{1}, 0},
	} {
		if got := distance(test.a, test.b); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Samples of one distribution are told apart about as often as the level says, and
// samples of two that differ by little almost always.
func TestSignificance(t *testing.T) {
	t.Parallel()
	const runs, size, level = 2000, 200, 0.05
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(shift float64) []float64 {
		sample := make([]float64, size)
		for i := range sample {
			sample[i] = random.NormFloat64() + shift
		}
		return sample
	}
	told := func(shift float64) (share float64) {
		for range runs {
			if significance(distance(draw(0), draw(shift)), size, size) < level {
				share += 1.0 / runs
			}
		}
		return share
	}
	if got := told(0); got < 0.02 || got > 0.07 {
		t.Errorf("the same distribution told apart in %.3f of all runs, want about %v", got, level)
	}
	if got := told(0.5); got < 0.98 {
		t.Errorf("half a standard deviation noticed in %.3f of all runs", got)
	}
}
