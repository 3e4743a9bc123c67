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
	maxConnections  = 64
	maxOfPeer       = 16
	maxHeader       = 8 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 60 * time.Second
	shutdownTimeout = 3 * time.Second
)

// Serve answers on the listener until ctx ends, and closes it. Of many connections the
// oldest are closed: see Limit.
func Serve(ctx context.Context, listener net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
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
	err := srv.Serve(Limit(listener, maxConnections, maxOfPeer))
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
