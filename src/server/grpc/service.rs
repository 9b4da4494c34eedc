//! `inference.GRPCInferenceService` over [`Service`]: each method is one call of it, written down
//! in protobuf.

use tonic::{Request, Response, Status, Streaming};

use super::pb::inference as pb;
use super::pb::inference::grpc_inference_service_server::GrpcInferenceService;
use super::{config, convert, reply, repository, settings, shared_memory, stream};
use crate::error;
use crate::infer::RequestContext;
use crate::model::Selector;
use crate::server::extensions::extensions;
use crate::server::parameters::check_repository;
use crate::server::shared_memory::{Regions, no_cuda};
use crate::service::{self, Service};

type Reply<T> = Result<Response<T>, Status>;

/// The service as tonic sees it.
#[derive(Clone)]
pub struct Inference {
    pub service: Service,
    pub regions: Regions,
    pub body_bytes_max: usize,
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _request: Request<pb::ServerLiveRequest>,
    ) -> Reply<pb::ServerLiveResponse> {
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _request: Request<pb::ServerReadyRequest>,
    ) -> Reply<pb::ServerReadyResponse> {
        Ok(Response::new(pb::ServerReadyResponse { ready: self.service.readiness().ready }))
    }

    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Reply<pb::ModelReadyResponse> {
        answer(self.is_model_ready(request.get_ref()))
    }

    async fn server_metadata(
        &self,
        _request: Request<pb::ServerMetadataRequest>,
    ) -> Reply<pb::ServerMetadataResponse> {
        Ok(Response::new(pb::ServerMetadataResponse {
            name: service::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: extensions(&self.regions).into_iter().map(str::to_owned).collect(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Reply<pb::ModelMetadataResponse> {
        answer(self.metadata(request.get_ref()))
    }

    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> Reply<pb::ModelInferResponse> {
        let context = stream::context(&request)?;
        answer(self.infer(&context, request.into_inner()).await)
    }

    type ModelStreamInferStream = stream::Answers;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<pb::ModelInferRequest>>,
    ) -> Reply<stream::Answers> {
        let context = stream::context(&request)?;
        Ok(Response::new(stream::start(self.clone(), &context, request)))
    }

    async fn model_config(
        &self,
        request: Request<pb::ModelConfigRequest>,
    ) -> Reply<pb::ModelConfigResponse> {
        let pb::ModelConfigRequest { name, version } = request.get_ref();
        let target = Selector::parse(name, version)
            .and_then(|selector| self.service.resolve(name, selector));
        answer(target.map(|target| pb::ModelConfigResponse {
            config: Some(config::config(target.triton_config())),
        }))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Reply<pb::ModelStatisticsResponse> {
        let pb::ModelStatisticsRequest { name, version } = request.get_ref();
        let statistics = Selector::parse(name, version).and_then(|selector| {
            self.service.statistics((!name.is_empty()).then_some(name), selector)
        });
        answer(statistics.map(repository::statistics))
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Reply<pb::RepositoryIndexResponse> {
        let request = request.get_ref();
        let checked = check_repository(&request.repository_name);
        answer(checked.map(|()| repository::index(self.service.index(request.ready))))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Reply<pb::RepositoryModelLoadResponse> {
        let outcome = match repository::load(request.into_inner()) {
            Ok((model, call)) => self.service.load(&model, call).await,
            Err(error) => Err(error),
        };
        answer(outcome.map(|()| pb::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Reply<pb::RepositoryModelUnloadResponse> {
        let outcome = match repository::unload(request.into_inner()) {
            Ok((model, dependents)) => self.service.unload(&model, dependents).await,
            Err(error) => Err(error),
        };
        answer(outcome.map(|()| pb::RepositoryModelUnloadResponse {}))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<pb::SystemSharedMemoryStatusRequest>,
    ) -> Reply<pb::SystemSharedMemoryStatusResponse> {
        answer(shared_memory::status(&self.regions, request.get_ref()))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<pb::SystemSharedMemoryRegisterRequest>,
    ) -> Reply<pb::SystemSharedMemoryRegisterResponse> {
        answer(shared_memory::register(&self.regions, request.get_ref()))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<pb::SystemSharedMemoryUnregisterRequest>,
    ) -> Reply<pb::SystemSharedMemoryUnregisterResponse> {
        answer(shared_memory::unregister(&self.regions, request.get_ref()))
    }

    async fn cuda_shared_memory_status(
        &self,
        _request: Request<pb::CudaSharedMemoryStatusRequest>,
    ) -> Reply<pb::CudaSharedMemoryStatusResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn cuda_shared_memory_register(
        &self,
        _request: Request<pb::CudaSharedMemoryRegisterRequest>,
    ) -> Reply<pb::CudaSharedMemoryRegisterResponse> {
        answer(Err(no_cuda()))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _request: Request<pb::CudaSharedMemoryUnregisterRequest>,
    ) -> Reply<pb::CudaSharedMemoryUnregisterResponse> {
        Ok(Response::new(Default::default()))
    }

    async fn trace_setting(
        &self,
        request: Request<pb::TraceSettingRequest>,
    ) -> Reply<pb::TraceSettingResponse> {
        answer(self.trace_setting(request.get_ref()))
    }

    async fn log_settings(
        &self,
        request: Request<pb::LogSettingsRequest>,
    ) -> Reply<pb::LogSettingsResponse> {
        let settings = match settings::change(request.get_ref()) {
            Ok(Some(change)) => self.service.change_log(change),
            Ok(None) => Ok(self.service.log_settings()),
            Err(error) => Err(error),
        };
        answer(settings.map(|settings| settings::log(&settings)))
    }
}

impl Inference {
    fn is_model_ready(
        &self,
        request: &pb::ModelReadyRequest,
    ) -> error::Result<pb::ModelReadyResponse> {
        let selector = Selector::parse(&request.name, &request.version)?;
        let ready = self.service.is_model_ready(&request.name, selector)?;
        Ok(pb::ModelReadyResponse { ready })
    }

    fn metadata(
        &self,
        request: &pb::ModelMetadataRequest,
    ) -> error::Result<pb::ModelMetadataResponse> {
        let selector = Selector::parse(&request.name, &request.version)?;
        Ok(convert::metadata(&self.service.view(&request.name, selector)?))
    }

    /// Of all models, or of the one that is named.
    fn trace_setting(
        &self,
        request: &pb::TraceSettingRequest,
    ) -> error::Result<pb::TraceSettingResponse> {
        if !request.model_name.is_empty() {
            self.service.model(&request.model_name)?;
        }
        settings::check_trace(request)?;
        Ok(settings::trace())
    }

    pub async fn infer(
        &self,
        context: &RequestContext,
        mut message: pb::ModelInferRequest,
    ) -> error::Result<pb::ModelInferResponse> {
        let selector = Selector::parse(&message.model_name, &message.model_version)?;
        let target = self.service.route(context, &message.model_name, selector)?;
        let id = std::mem::take(&mut message.id);
        let model = target.id().name.as_str();
        let memory = self.regions.access(self.body_bytes_max);
        let decoded = target.decode(context, || convert::request(model, message, memory))?;
        let outcome = target.infer(context, decoded.request).await?;
        convert::deliver(&outcome, &decoded.slots)?;
        Ok(convert::response(target.id(), id, outcome, &decoded.slots))
    }
}

fn answer<T>(outcome: error::Result<T>) -> Reply<T> {
    outcome.map(Response::new).map_err(|error| reply::status(&error))
}
