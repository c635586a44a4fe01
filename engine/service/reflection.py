"""Server reflection, so that grpcurl and load tools work without proto files.

v1 and v1alpha are the same messages under two names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2 as pb

from engine.service.codec import parse
from engine.service.guard import Guard
from engine.transport import Call, Code, Method

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Reflection:
    """Describes the services named, from the default descriptor pool."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = sorted(services)

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [guard.bidi(f"/{service}/ServerReflectionInfo", self.info) for service in SERVICES]

    async def info(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """One answer to each question."""
        async for payload in requests:
            request = parse(pb.ServerReflectionRequest, payload)
            response = self._answer(request)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            yield response.SerializeToString()

    def _answer(self, request: Any) -> Any:
        pool: Any = descriptor_pool.Default()
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            services = [pb.ServiceResponse(name=name) for name in self._services]
            return pb.ServerReflectionResponse(list_services_response=pb.ListServiceResponse(service=services))
        try:
            if kind == "file_by_filename":
                return _files(pool.FindFileByName(request.file_by_filename))
            if kind == "file_containing_symbol":
                return _files(pool.FindFileContainingSymbol(request.file_containing_symbol))
            if kind == "file_containing_extension":
                wanted = request.file_containing_extension
                message = pool.FindMessageTypeByName(wanted.containing_type)
                return _files(pool.FindExtensionByNumber(message, wanted.extension_number).file)
            message = pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
        except KeyError:
            error = pb.ErrorResponse(error_code=Code.NOT_FOUND, error_message="not found")
            return pb.ServerReflectionResponse(error_response=error)
        numbers = sorted(extension.number for extension in pool.FindAllExtensions(message))
        found = pb.ExtensionNumberResponse(base_type_name=message.full_name, extension_number=numbers)
        return pb.ServerReflectionResponse(all_extension_numbers_response=found)


def _files(wanted: Any) -> Any:
    """A file with everything it imports, imports first."""
    found: dict[str, bytes] = {}

    def gather(file: Any) -> None:
        if file.name not in found:
            found[file.name] = b""
            for dependency in file.dependencies:
                gather(dependency)
            proto = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(proto)
            del found[file.name]
            found[file.name] = proto.SerializeToString()

    gather(wanted)
    response = pb.FileDescriptorResponse(file_descriptor_proto=[found.pop(wanted.name), *found.values()])
    return pb.ServerReflectionResponse(file_descriptor_response=response)
