package notify

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
)

// The calls that are made for one pod, or for the node: client-go's burst, and
// then one in a time that is shorter than its five minutes, since here nothing is
// dropped meanwhile.
const (
	burst  = 25
	refill = 30 * time.Second
)

// wait takes a call of a target's, or says how long there is none.
func (r *Reporter) wait(target deliver.Target) time.Duration {
	limiter, ok := r.rates.Get(target)
	if !ok {
		limiter = rate.NewLimiter(rate.Every(refill), burst)
		r.rates.Add(target, limiter)
	}
	reservation := limiter.(*rate.Limiter).Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}
