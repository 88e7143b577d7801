package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coder/websocket"
)

// Sends every message back, of whatever kind.
func echoMessages(response http.ResponseWriter, request *http.Request) {
	socket, err := websocket.Accept(response, request, &websocket.AcceptOptions{
		InsecureSkipVerify: true,
		Subprotocols:       []string{"echo"},
		CompressionMode:    websocket.CompressionContextTakeover,
	})
	if err != nil {
		return
	}
	defer socket.CloseNow()
	socket.SetReadLimit(-1)
	for {
		kind, message, err := socket.Read(request.Context())
		if err != nil {
			return
		}
		if socket.Write(request.Context(), kind, message) != nil {
			return
		}
	}
}

// talk sends messages of many sizes to an echo and compares what comes back; says how many there were.
func talk(to *server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, to.scheme()+"://"+to.authority+"/websocket", &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: to.transport()},
		Subprotocols:    []string{"echo"},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.CloseNow()
	if socket.Subprotocol() != "echo" {
		log.Fatalf("the subprotocol is %q", socket.Subprotocol())
	}
	socket.SetReadLimit(-1)
	count := 0
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			message := bytes.Repeat([]byte("m"), size)
			if err := socket.Write(ctx, kind, message); err != nil {
				log.Fatal(err)
			}
			back, echo, err := socket.Read(ctx)
			if err != nil {
				log.Fatal(err)
			}
			if back != kind || !bytes.Equal(echo, message) {
				log.Fatalf("%v of %d bytes came back as %v of %d", kind, size, back, len(echo))
			}
			count++
		}
	}
	if err := socket.Close(websocket.StatusNormalClosure, ""); err != nil {
		log.Fatal(err)
	}
	fmt.Println(count)
}

func (to *server) scheme() string {
	if to.ca == "" {
		return "ws"
	}
	return "wss"
}

// Goes to the address, whatever the host is that is asked for.
func (to *server) transport() *http.Transport {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, to.address)
		},
	}
	if to.ca != "" {
		certificate, err := os.ReadFile(to.ca)
		if err != nil {
			log.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(certificate)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return transport
}
