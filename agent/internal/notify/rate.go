package notify

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
)

// The calls that are made for one pod, or for one unit or user of the node: client-go's burst, and
// then one in a time that is shorter than its five minutes, since here nothing is
// dropped meanwhile.
const (
	burst  = 25
	refill = 30 * time.Second
)

// wait takes a call of those for a lane's target and owner, or says how long there is none.
func (r *Reporter) wait(lane deliver.Lane) time.Duration {
	of := deliver.Lane{Target: lane.Target, Owner: lane.Owner}
	limiter, ok := r.rates.Get(of)
	if !ok {
		limiter = rate.NewLimiter(rate.Every(refill), burst)
		r.rates.Add(of, limiter)
	}
	reservation := limiter.(*rate.Limiter).Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}
