package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

func newWorld(o options) (world, links, error) {
	if o.loopback {
		l, err := newLoopback(o.nodes)
		return l, nil, err
	}
	n, err := newNamespaces(o.nodes, rand.New(rand.NewPCG(o.seed, 100)))
	if err != nil {
		return nil, nil, fmt.Errorf("no network of its own is to be had here: %w; it takes root, network namespaces and TUN, or -loopback", err)
	}
	return n, n.forwarder, nil
}

// namespaces has every node, and all clients together, in a network namespace that knows no way out but a TUN device. They have no
// name and the devices do not persist: when this process and those in them end, however they do, the kernel removes both.
type namespaces struct {
	home      *os.File
	places    []*os.File // the last is the clients'
	devices   []*os.File
	addresses []netip.Addr
	forwarder *forwarder
}

const port = 9092

func newNamespaces(nodes int, chance *rand.Rand) (*namespaces, error) {
	n := &namespaces{}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	n.home = home
	var ends []io.ReadWriter
	for i := range nodes + 1 {
		address := netip.AddrFrom4([4]byte{10, 77, 0, byte(1 + i)})
		place, device, err := n.make(address)
		if err != nil {
			n.close()
			return nil, err
		}
		n.places, n.devices, n.addresses = append(n.places, place), append(n.devices, device), append(n.addresses, address)
		ends = append(ends, device)
	}
	n.forwarder = newForwarder(ends, n.addresses, chance)
	n.forwarder.run()
	return n, nil
}

// in runs f on a thread that is in a namespace, and brings the thread home: one that ended would take with it the nodes that it
// started, see nodeAttributes. A thread that finds no way home is not used for anything else.
func (n *namespaces) in(place *os.File, f func() error) (err error) {
	runtime.LockOSThread()
	if err := unix.Setns(int(place.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = f()
	if home := unix.Setns(int(n.home.Fd()), unix.CLONE_NEWNET); home != nil {
		return errors.Join(err, fmt.Errorf("leave a network namespace: %w", home))
	}
	runtime.UnlockOSThread()
	return err
}

// make makes a namespace and a device in it.
func (n *namespaces) make(address netip.Addr) (place, device *os.File, err error) {
	err = n.in(n.home, func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if place, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if err := raise("lo", netip.Addr{}); err != nil {
			return err
		}
		if device, err = openTUN("tun0"); err != nil {
			return err
		}
		return raise("tun0", address)
	})
	return place, device, err
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make the device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// raise gives a device of the thread's namespace an address, in a network of 256, and has it carry packets.
func raise(name string, address netip.Addr) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	ask := func(what uint, fill func(*unix.Ifreq) error) {
		if err != nil {
			return
		}
		request, made := unix.NewIfreq(name)
		if err = made; err != nil {
			return
		}
		if err = fill(request); err == nil {
			err = unix.IoctlIfreq(socket, what, request)
		}
	}
	if address.IsValid() {
		ask(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.AsSlice()) })
		ask(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) })
		ask(unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(packetSize); return nil })
	}
	ask(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
	if err != nil {
		return fmt.Errorf("set up the device %s: %w", name, err)
	}
	return nil
}

func (n *namespaces) address(node int) string {
	return net.JoinHostPort(n.addresses[node].String(), strconv.Itoa(port))
}

func (n *namespaces) start(node int, command *exec.Cmd) error {
	return n.in(n.places[node], command.Start)
}

func (n *namespaces) startClient(command *exec.Cmd) error {
	return n.in(n.places[len(n.places)-1], command.Start)
}

// dial makes the connection's socket in the clients' namespace, where it stays. Addresses are numbers: they are not looked up, and dialed by
// the goroutine that asks.
func (n *namespaces) dial(ctx context.Context, network, address string) (connection net.Conn, err error) {
	err = n.in(n.places[len(n.places)-1], func() (err error) {
		connection, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return connection, err
}

func (n *namespaces) close() {
	for _, device := range n.devices {
		_ = device.Close()
	}
	if n.forwarder != nil {
		n.forwarder.reading.Wait()
	}
	for _, place := range n.places {
		_ = place.Close()
	}
	_ = n.home.Close()
}
