package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Bounds of a connection.
const (
	maxConnections = 64
	maxOfAddress   = 16
	maxHeader      = 8 << 10
	// kernelBuffer is what the kernel may keep of a connection in each direction: Linux
	// doubles the number for its own structures (socket(7)), and charges the agent's cgroup,
	// 4 MiB for all connections. Small, so that sendTimeout sees that a client reads.
	kernelBuffer    = 16 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 60 * time.Second
	shutdownTimeout = 3 * time.Second
)

// Serve answers on the listener until ctx ends, and closes it. Of many connections the
// oldest are closed: see Limit, and Bounds for closed.
func Serve(ctx context.Context, listener net.Listener, h http.Handler, closed func(Reason)) error {
	srv := &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, ConnContext: withConn,
		DisableGeneralOptionsHandler: true,
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if srv.Shutdown(bounded) != nil {
			_ = srv.Close() // somebody reads slowly
		}
	})
	err := srv.Serve(Limit(listener, Bounds{
		Connections: maxConnections, ConnectionsOfAddress: maxOfAddress, Held: maxHeld, HeldOfPeer: maxHeldOfPeer, Closed: closed,
	}))
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
