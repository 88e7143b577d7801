// The other side of network tests, made of what Go's own libraries do: servers that are backends (`peer serve`), and the
// clients of gRPC's interoperability tests (`peer grpc`) and of a WebSocket library (`peer websocket`).
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("say what to do: serve, grpc or websocket")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	switch os.Args[1] {
	case "serve":
		httpPort := flags.Int("http", 8080, "where to speak HTTP/1.1 and WebSocket")
		grpcPort := flags.Int("grpc", 8081, "where to speak gRPC, in the clear")
		parse(flags)
		serve(*httpPort, *grpcPort)
	case "grpc":
		server := serverFlags(flags)
		parse(flags)
		interoperate(server)
	case "websocket":
		server := serverFlags(flags)
		parse(flags)
		talk(server)
	default:
		log.Fatalf("nobody knows how to %s: say serve, grpc or websocket", os.Args[1])
	}
}

// server is whom a client talks with.
type server struct {
	address, authority, ca string
}

func serverFlags(flags *flag.FlagSet) *server {
	to := &server{}
	flags.StringVar(&to.address, "address", "", "where the server is: ADDRESS:PORT")
	flags.StringVar(&to.authority, "authority", "", "the host that is asked for")
	flags.StringVar(&to.ca, "ca", "", "a file with the certificate to trust; without it the connection is in the clear")
	return to
}

func parse(flags *flag.FlagSet) {
	// The flags end the process themselves if they are wrong.
	_ = flags.Parse(os.Args[2:])
}

// serve runs both servers, and says `ready` on standard error once both listen.
func serve(httpPort, grpcPort int) {
	web, calls := listen(httpPort), listen(grpcPort)
	fmt.Fprintln(os.Stderr, "ready")
	go func() { log.Fatal(newGrpcServer().Serve(calls)) }()
	log.Fatal((&http.Server{Handler: newHandler()}).Serve(web))
}

func listen(port int) net.Listener {
	listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		log.Fatal(err)
	}
	return listener
}
