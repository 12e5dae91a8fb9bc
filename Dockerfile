# docker build -t gregor . && docker run -p 9092:9092 -v gregor:/data gregor
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /gregor ./cmd/gregor && mkdir /data

FROM scratch
COPY --from=build /gregor /gregor
COPY --from=build --chmod=0700 /data /data
VOLUME /data
EXPOSE 9092 9464
ENTRYPOINT ["/gregor"]
# Inside a container the loopback interface reaches nobody: listen on all, and publish the port only where it should be seen.
# Behind a port mapping other than 9092:9092, or from other hosts, add --advertise HOST:PORT.
CMD ["start", "--data-dir", "/data", "--listen", "0.0.0.0:9092", "--http", "0.0.0.0:9464"]
