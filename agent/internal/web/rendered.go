package web

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Bounds of the answers that are in memory. The worst case, whatever the peers do: maxRenders
// answers of maxBody are made, which takes three times as much at most, as the encoder of
// JSON has a copy in a buffer that it has grown; and answers of maxHeld together are sent.
// That is 3*2*2 MiB + 4 MiB = 16 MiB, beside the buffers of maxConnections connections:
// see the bounds there.
const (
	maxBody = 2 << 20
	maxHeld = 4 << 20
	// maxHeldOfPeer has room for one answer of any size.
	maxHeldOfPeer = maxBody
	// piece is what has to be sent within sendTimeout, in bytes. So a client is served that
	// reads some 2 KiB in a second, and no client that has stopped.
	piece       = 16 << 10
	sendTimeout = 10 * time.Second
)

// render makes an answer.
type render func(*body, *http.Request)

// rendered has next make the whole answer in memory while the request has a slot, and sends
// the answer after the slot was given back: whoever reads slowly keeps nobody waiting.
func (s *server) rendered(next render) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r)
		peer := c.owner()
		if !s.slots.take(r.Context(), peer) {
			w.Header().Set("Retry-After", "5")
			plain(w, http.StatusServiceUnavailable, "too many requests at once\n")
			return
		}
		answer := &body{header: http.Header{}}
		func() {
			began := time.Now()
			defer func() { s.slots.rest(peer, time.Since(began)) }()
			next(answer, r)
			c.hold(answer.size)
		}()
		defer c.release()
		answer.send(w, r.Method)
	}
}

// body is an answer that is made in memory.
type body struct {
	header http.Header
	status int
	chunks [][]byte
	size   int
	err    error // why what is there is not sent
}

var errLarge = fmt.Errorf("it has more than %d bytes: ask for less, such as with limit=10", maxBody)

// fail has an error sent in the place of the answer. The first error counts, and nil is none.
func (b *body) fail(err error) {
	if b.err == nil && err != nil {
		b.err, b.chunks, b.size = err, nil, 0
	}
}

// Header returns the answer's own header.
func (b *body) Header() http.Header { return b.header }

// WriteHeader sets the status, once.
func (b *body) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

// Write adds to the answer, which grows by pieces so that nothing is copied.
func (b *body) Write(text []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	if b.size+len(text) > maxBody {
		b.fail(errLarge)
	}
	if b.err != nil {
		return 0, b.err
	}
	b.size += len(text)
	n := len(text)
	for len(text) > 0 {
		last := len(b.chunks) - 1
		if last < 0 || len(b.chunks[last]) == cap(b.chunks[last]) {
			b.chunks = append(b.chunks, make([]byte, 0, min(piece, max(len(text), 1<<10))))
			last++
		}
		free := cap(b.chunks[last]) - len(b.chunks[last])
		some := text[:min(len(text), free)]
		b.chunks[last] = append(b.chunks[last], some...)
		text = text[len(some):]
	}
	return n, nil
}

// send sends the answer piece by piece, until one is not taken in time.
func (b *body) send(w http.ResponseWriter, method string) {
	if b.err != nil {
		plain(w, http.StatusInternalServerError, "the answer could not be made: "+b.err.Error()+"\n")
		return
	}
	for name, values := range b.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(b.size))
	w.WriteHeader(max(b.status, http.StatusOK))
	if method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	for i := range b.chunks {
		_ = control.SetWriteDeadline(time.Now().Add(sendTimeout)) // a test's recorder has none
		if _, err := w.Write(b.chunks[i]); err != nil {
			return // the client is gone, or does not read
		}
		b.chunks[i] = nil
	}
}
