package sim_test

import (
	"flag"
	"testing"

	"github.com/holdfast/holdfast/internal/sim"
)

var (
	seed  = flag.Uint64("seed", 0, "run this seed alone, with a trace")
	seeds = flag.Uint64("seeds", 250, "how many seeds to run")
	steps = flag.Int("steps", 120, "of each run")
)

func TestSimulation(t *testing.T) {
	if *seed != 0 {
		if err := sim.Run(sim.Config{Seed: *seed, Steps: *steps, Trace: t.Logf}); err != nil {
			t.Fatal(err)
		}
		return
	}
	for n := uint64(1); n <= *seeds; n++ {
		if err := sim.Run(sim.Config{Seed: n, Steps: *steps}); err != nil {
			t.Errorf("%v\nagain: go test ./internal/sim -run TestSimulation -seed %d -steps %d -v", err, n, *steps)
		}
		if t.Failed() && n > 5 {
			return
		}
	}
}
