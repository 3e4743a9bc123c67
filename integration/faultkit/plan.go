//go:build linux

package faultkit

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
)

// Plan has the number of runs, and draws the random times of a test.
type Plan struct {
	Seed uint64
	Runs int // of each kind, in each case
	Full bool
	// Lead is the time before a fault and after its end in which containers end too.
	Lead time.Duration
	// Away is called when a fault has ended containerd, before the next containerd starts; nil
	// for nothing.
	Away func()

	mu   sync.Mutex // guards what follows
	draw *rand.Rand
}

// NewPlan reads the environment variables PREFIX_RUNS and PREFIX_SEED. In the short part of the
// tests each case runs once.
func NewPlan(t *testing.T, prefix string) *Plan {
	t.Helper()
	p := &Plan{Runs: counts.FromEnv(t, prefix+"_RUNS", 1), Lead: time.Second}
	if testing.Short() {
		p.Runs = 1
	}
	if p.Full = p.Runs >= 10; p.Full {
		p.Lead = 3 * time.Second
	}
	name := prefix + "_SEED"
	p.Seed = uint64(time.Now().UnixNano()) % 1e9
	if text := os.Getenv(name); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "environment variable %s", name)
		p.Seed = seed
	}
	p.draw = rand.New(rand.NewPCG(p.Seed, 0))
	t.Logf("seed %d: %s=%d draws the same moments", p.Seed, name, p.Seed)
	return p
}

// Within returns a random time between from and to.
func (p *Plan) Within(from, to time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return from + time.Duration(p.draw.Int64N(int64(to-from)))
}

// Moment is the time at which a container ends.
type Moment struct {
	Phase string // before, during or after the fault
	After time.Duration
}

func (m Moment) String() string {
	return fmt.Sprintf("%s+%s", m.Phase, m.After.Round(time.Millisecond))
}

// Moment draws a moment: each of the phases before, during and after has a third of them.
func (p *Plan) Moment(f Fault) Moment {
	switch p.Within(0, 3) {
	case 0:
		return Moment{"before", p.Within(0, p.Lead)}
	case 1:
		return Moment{"during", p.Within(0, max(f.Lasts, f.Around))}
	default:
		return Moment{"after", p.Within(0, p.Lead)}
	}
}
